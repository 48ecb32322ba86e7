"""How own fills move the reference path: square-root impact that decays.

The law, its sources and why no round trip profits from it: `configs.market.ImpactConfig`.
"""

from __future__ import annotations

import math

from market.desk import Desk
from market.kernels import inlined, kernel
from market.lanes import decayed
from market.pointers import record
from market.state import DECAY, IMBALANCES, LAW_FIELDS, WEIGHT


@inlined
def _renew(desk: Desk, time: float, added: float) -> None:
    """Bring the imbalances to `time`, add signed own volume, and renew the impact."""
    episode = record(desk.episode)
    elapsed = time - episode.impact_time
    impact = 0.0
    for index in range(IMBALANCES):
        law = index * LAW_FIELDS
        kept = decayed(elapsed * desk.impact_law[law + DECAY])
        imbalance = desk.imbalances[index] * kept + added
        desk.imbalances[index] = imbalance
        root = math.sqrt(abs(imbalance))
        impact += desk.impact_law[law + WEIGHT] * math.copysign(root, imbalance)
    episode.impact_time = time
    episode.impact = episode.impact_scale * impact


@kernel
def begin_impact(desk: Desk, scale: float) -> None:
    """No own volume yet. `scale`: Y, in ticks per root of a unit once sigma and V are in it."""
    episode = record(desk.episode)
    episode.impact = 0.0
    episode.impact_time = 0.0
    episode.impact_scale = scale * math.sqrt(episode.variance_slow / episode.step_volume)
    for index in range(IMBALANCES):
        desk.imbalances[index] = 0.0


@inlined
def add_own_volume(desk: Desk, signed: float) -> None:
    """Own fills of `signed` units (buys positive) move the reference from now on."""
    _renew(desk, record(desk.episode).clock, signed)


@inlined
def fade_impact(desk: Desk) -> None:
    """Let the impact of past fills fade until now."""
    episode = record(desk.episode)
    if episode.impact != 0.0:
        _renew(desk, episode.clock, 0.0)


@inlined
def resume_impact(desk: Desk, time: float) -> None:
    """Bring the impact to `time`, whatever it stood at, under the scale that now holds."""
    _renew(desk, time, 0.0)

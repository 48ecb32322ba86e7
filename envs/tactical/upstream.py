"""What the strategic layer tells a tactical episode: sampled, or an artefact's decisions.

A step reads the strategic layer in `strategic`, `strategic_targets` and `phases` of the step
arrays and nowhere else, and they change in `follow_strategic` alone. Sampled, the layer speaks
once every so many bars of the episode. An artefact speaks at the closes of its own bars, which
the clock sets: its decisions depend on the bars alone, so that they stand in a table.
"""

from __future__ import annotations

import math
from typing import Any

from market.kernels import generic
from market.random import PURPOSE_UPSTREAM, normal, stream_key
from signals.superposition import BUY, SELL, collapse_row
from signals.upstream import superpose

PROBABILITIES = 3  # SELL, HOLD, BUY
STRATEGIC_WIDTH = PROBABILITIES + 2  # then confidence and coherence
# A row of the artefact's table, of what is known before a bar: these, then its target (share of
# the limit) and the share of its own bar gone by; NaN where it has not decided.
ABOVE_WIDTH = STRATEGIC_WIDTH + 2
_TARGET, _PHASE = STRATEGIC_WIDTH, STRATEGIC_WIDTH + 1


@generic
def _standardised_move(arrays: Any, n: int) -> float:
    """The move of F over the strategic bar to come, in its sigmas by the ranges before it."""
    tape, bar = arrays.world.tape, arrays.world.places[n].bar
    until = min(bar + arrays.rules[0].strategic_bars - 1, arrays.last_bars[n])
    sigma = tape.sigma[bar] * math.sqrt(until - bar + 1)
    return (tape.ohlc[until, 3] - tape.ohlc[bar - 1, 3]) / sigma


@generic
def _renew_strategic(arrays: Any, n: int) -> None:
    """Draw the next superposition and move the target by what it collapses to.

    The signal is c z + sqrt(1 - c^2) a: z the standardised move, a an autoregressive process
    of unit variance, so that c is the correlation of signal and move.
    """
    rules, place = arrays.rules[0], arrays.world.places[n]
    number = place.played // rules.strategic_bars
    key = stream_key(place.seed, arrays.episodes[n], PURPOSE_UPSTREAM)
    fresh, kept = normal(key, number), rules.persistence
    if number == 0:
        arrays.wander[n] = fresh
    else:
        arrays.wander[n] = kept * arrays.wander[n] + math.sqrt(1.0 - kept * kept) * fresh
    coefficient = rules.coefficient
    signal = math.sqrt(1.0 - coefficient * coefficient) * arrays.wander[n]
    if coefficient > 0.0:
        signal += coefficient * _standardised_move(arrays, n)
    superpose(signal, rules.sharpness, arrays.strategic[n], 0)
    chosen = collapse_row(arrays.strategic[n, :PROBABILITIES], key, number)
    step = rules.strategic_step
    move = step if chosen == BUY else -step if chosen == SELL else 0.0
    arrays.strategic_targets[n] = min(max(arrays.strategic_targets[n] + move, -1.0), 1.0)


@generic
def follow_strategic(arrays: Any, n: int) -> None:
    """Take in what the strategic layer says of the bar to be played next."""
    place, bars = arrays.world.places[n], arrays.rules[0].strategic_bars
    if len(arrays.above) > 0:
        said = arrays.above[place.bar]
        arrays.strategic[n, :] = said[:STRATEGIC_WIDTH]
        arrays.strategic_targets[n] = said[_TARGET]
        arrays.phases[n] = said[_PHASE]
        return
    arrays.phases[n] = (place.played % bars) / bars
    if place.played % bars == 0:
        _renew_strategic(arrays, n)

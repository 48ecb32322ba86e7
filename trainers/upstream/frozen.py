"""Frozen layers played over the bars of a run, once, into tables by bar.

A layer plays its own environment, on stretches as long as the episodes that it was trained on,
one after the other: flat at the begin of each, its orders worked in the simulated books by its
own environment, flat at the end. That account is the one whose columns it sees; the position of
the layer below, which is another account's, it never does. Stretches play at once, in a batch,
each seeded by the bar it begins at, so that a row does not depend on how they are cut into
batches; a stretch that would end beyond whole windows begins earlier and says only what is new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cascade.artefact import REGIME_MODEL_FILE
from cascade.policy import Decision, OnnxPolicy
from configs.execution import ExecutionConfig
from configs.splits import Split
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.barwise.batched import BatchedBars
from envs.barwise.data import content_key, slow_data_of
from envs.barwise.fast import FastData, fast_data
from envs.execution.batched import BarsAbove
from envs.strategic import BatchedStrategic
from envs.tactical import BatchedTactical
from envs.tactical.upstream import ABOVE_WIDTH
from market.coarser_bars import coarser_bars
from market.kept import kept, key_of
from signals.execution import CONTEXT
from signals.regime import RegimeModel
from signals.said import (
    SAID,
    STRATEGIC_SAID,
    TACTICAL_SAID,
    strategic_said,
    strategic_tactical_entanglement,
    tactical_said,
)
from signals.superposition import DIRECTIONS
from trainers.upstream.artefacts import Frozen, frozen
from trainers.upstream.dates import dates, refuse_seen

Floats = NDArray[np.float64]
Say = Callable[[NDArray[np.float32], Decision], Floats]

MOST_STRETCHES = 64  # played at once
_NS_PER_MINUTE = 60_000_000_000
_STRATEGIC, _TACTICAL = "strategic", "tactical"


def strategic_table(config: TacticalConfig, split: Split) -> Floats:
    """What the strategic artefact says before each tactical bar of a split.

    The artefact decides at the close of a bar of its own length, put together of tactical bars
    (`market.coarser_bars`), and its word holds over the tactical bars of the next one.

    Args:
        config: `upstream.strategic` is the artefact's folder.

    Returns:
        float64 [bars, ABOVE_WIDTH], read-only, in the order of `envs.tactical.upstream`; NaN
        outside the split and where windows of the longer bars are not whole.

    Raises:
        ArtefactError: the artefact cannot be loaded, or was trained on these dates.
        DataError: the split holds no episode, or bars do not make up the artefact's.
    """
    folder, data = config.upstream.strategic, fast_data(config, split)
    above = frozen(folder, _STRATEGIC, StrategicConfig, market=config.market)
    _refuse_seen(above, folder, split, config, data)
    key = key_of(__file__, _identity(above), content_key(config), data.fingerprint, split)
    found = kept(_STRATEGIC, key, lambda: {"said": _strategic_by_bar(above, config, data)})
    return found["said"]


def tactical_under(config: ExecutionConfig) -> Frozen[TacticalConfig]:
    """The tactical artefact of `config` under its strategic one, on the run's own bars.

    Raises:
        ArtefactError: see `trainers.upstream.artefacts.frozen`.
    """
    told = config.upstream
    loaded = frozen(
        told.tactical, _TACTICAL, TacticalConfig, market=config.market, series=told.series
    )
    above = loaded.config.upstream.model_copy(update={_STRATEGIC: told.strategic})
    placed = loaded.config.model_copy(update={"upstream": above})
    return Frozen(loaded.policy, loaded.artefact, placed)


def bars_above(config: ExecutionConfig, split: Split) -> BarsAbove:
    """The tactical bars of a split that both artefacts have decided about, and what they said.

    Args:
        config: `upstream.strategic` and `upstream.tactical` are the artefacts' folders.

    Raises:
        ArtefactError: an artefact cannot be loaded, or was trained on these dates.
        DataError: the split holds no bar that both have decided about.
    """
    under = tactical_under(config)
    told, folder = under.config, config.upstream.tactical
    data = fast_data(told, split)
    _refuse_seen(under, folder, split, told, data)
    strategic = strategic_table(told, split)
    policy = frozen(told.upstream.strategic, _STRATEGIC, StrategicConfig, market=told.market)
    key = key_of(
        __file__, _identity(under), _identity(policy), content_key(told), data.fingerprint, split
    )
    found = kept(_TACTICAL, key, lambda: {"said": _context_by_bar(under, data, strategic, split)})
    said = found["said"]
    chosen = np.flatnonzero(~np.isnan(said).any(axis=1))
    rows = np.ascontiguousarray(said[chosen])
    rows.flags.writeable = False
    return BarsAbove(data.tape, chosen, rows, data.fingerprint)


def _identity(above: Frozen[Any]) -> list[Any]:
    """What an artefact's words depend on, the bars and the code apart."""
    manifest = above.artefact.manifest
    settings = above.config.model_dump(mode="json")
    # Where artefacts and bars lie says nothing.
    settings.get("upstream", {}).pop(_STRATEGIC, None)
    settings["market"]["reference"].get("bars", {}).pop("path", None)
    said_by = [manifest.onnx_sha256, manifest.files, manifest.temperatures]
    return [*said_by, settings, ort.__version__]


def _refuse_seen(
    above: Frozen[Any], folder: str, split: Split, config: TacticalConfig, data: FastData
) -> None:
    mine = dates(config.market.reference, config.series, data.rows, data.fingerprint)
    refuse_seen(above.artefact.manifest, folder, split, mine)


def _split(data: FastData) -> slice:
    """The split's bars of the tactical length."""
    return slice(data.rows.first * data.parts, data.rows.after * data.parts)


def _strategic_by_bar(
    above: Frozen[StrategicConfig], config: TacticalConfig, data: FastData
) -> Floats:
    """See `strategic_table`."""
    length = above.config.bar_minutes
    longer, number = coarser_bars(data.bars, config.bar_minutes, length)
    model = RegimeModel.load(above.artefact.folder / REGIME_MODEL_FILE)
    slow = slow_data_of(longer, above.config, model)
    horizon, mine = above.config.horizon_bars, _split(data)
    first, after = max(number[mine.start] - 1, 0), number[mine.stop - 1]
    stretches = cut(slow.whole, int(first), int(after), horizon)
    out = np.full((len(longer), len(STRATEGIC_SAID)), np.nan)
    if stretches:
        env = BatchedStrategic(above.config, min(len(stretches), MOST_STRETCHES), data=slow)
        rules, temperature = env.arrays.decision, above.policy.temperature

        def say(rows: NDArray[np.float32], told: Decision) -> Floats:
            return strategic_said(rows, told.actions, told.probabilities, rules, temperature)

        play(env, above.policy, say, stretches, horizon, out)
    table = np.full((len(data.bars), ABOVE_WIDTH), np.nan)
    last = number[mine] - 1  # the longer bar that had closed when each bar began
    table[mine, :-1] = np.where(last[:, None] >= 0, out[np.maximum(last, 0)], np.nan)
    begun = longer.start[number[mine]]
    table[mine, -1] = (data.bars.start[mine] - begun) / (length * _NS_PER_MINUTE)
    return table


def _context_by_bar(
    under: Frozen[TacticalConfig], data: FastData, strategic: Floats, split: Split
) -> Floats:
    """What both layers say before each bar, unsigned, [bars, len(CONTEXT)]; NaN where nothing."""
    known = np.asarray(np.isfinite(strategic).all(axis=1))
    # A decision at a close is about the next bar.
    whole = data.whole & np.append(known[1:], False)
    mine, horizon = _split(data), under.config.horizon_bars
    stretches = cut(whole, max(mine.start - 1, 0), mine.stop - 1, horizon)
    out = np.full((len(data.bars), len(TACTICAL_SAID) + 1), np.nan)
    if stretches:
        num = min(len(stretches), MOST_STRETCHES)
        env = BatchedTactical(under.config, num, 0, split, strategic, judged=True)
        rules, temperature = env.arrays.decision, under.policy.temperature

        def ask(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            return under.policy.decide(rows).probabilities

        def say(rows: NDArray[np.float32], told: Decision) -> Floats:
            said = tactical_said(rows, told.actions, told.probabilities, rules, temperature)
            above = env.arrays.strategic
            bound = strategic_tactical_entanglement(
                ask, above[:, : len(DIRECTIONS)], above[:, SAID.index("confidence")], rows, rules
            )
            return np.column_stack([said, bound])

        play(env, under.policy, say, stretches, horizon, out)
    both = np.full((len(data.bars), len(CONTEXT)), np.nan)
    width, own = len(SAID), out[:-1]
    both[1:, :width] = strategic[1:, :width]
    both[1:, width : 2 * width] = own[:, :width]
    both[1:, -2], both[1:, -1] = own[:, -1], own[:, width]  # entanglement, risk share
    return both


@dataclass(frozen=True)
class Stretch:
    """A stretch of decisions: the bar at whose close the first is taken, and which are new.

    Attributes:
        start: that bar.
        first, after: bars of the decisions that are kept.
    """

    start: int
    first: int
    after: int


def cut(whole: NDArray[np.bool_], first: int, after: int, horizon: int) -> list[Stretch]:
    """Stretches of `horizon` decisions that cover those from bar `first` to before `after`.

    Args:
        whole: bool [n], bars at whose close a decision can be taken; it plays the next bar.

    Runs of whole bars shorter than a stretch are left out.
    """
    # No bar follows the last.
    can = np.concatenate([[False], whole[:-1], [False, False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(can)).tolist()
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        at, until = max(begin, first), min(end, after)
        if end - begin < horizon:
            continue
        while at < until:
            start = min(at, end - horizon)
            stop = min(start + horizon, until)
            found.append(Stretch(start, at, stop))
            at = stop
    return found


def play(
    env: BatchedBars,
    policy: OnnxPolicy,
    say: Say,
    stretches: list[Stretch],
    horizon: int,
    out: Floats,
) -> None:
    """Play all stretches by the policy's modes; what it says at each bar goes to `out` [bars, K].

    Args:
        env: its environments are begun anew; their number is how many play at once.
        say: of the rows decided on and the decision, [N, K].
        horizon: decisions of a stretch.
    """
    for first in range(0, len(stretches), env.num_envs):
        batch = stretches[first : first + env.num_envs]
        # A batch that is not full plays its last stretch more than once.
        starts = np.array([batch[min(n, len(batch) - 1)].start for n in range(env.num_envs)])
        env.begin_at(starts, starts.astype(np.uint64))
        low = np.array([stretch.first for stretch in batch])
        high = np.array([stretch.after for stretch in batch])
        for step in range(horizon):
            decision = policy.decide(env.rows)
            said = say(env.rows, decision)
            bars = starts[: len(batch)] + step
            new = (bars >= low) & (bars < high)
            out[bars[new]] = said[: len(batch)][new]
            env.step(decision.actions)

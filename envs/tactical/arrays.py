"""What a step of many tactical episodes reads and writes: rules, arrays, their pinned address."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from configs.market import BarReference
from configs.tactical import RiskLimitConfig, TacticalConfig
from envs.barwise.kernels import result_metrics
from envs.tactical.upstream import ABOVE_WIDTH, STRATEGIC_WIDTH
from market.account import ACCOUNT, breakers
from market.bar_tape import BarTape, Tape
from market.barwise import Barwise, allocate_barwise, usual_bar_volume
from market.kernels import kernel
from market.pinned import Pinned, compiled_form, pinned_as
from market.targets import TACTICAL_RULES
from rewards import tactical as reward
from signals.tactical import TACTICAL

METRICS = (*result_metrics(reward.TERMS), "stopped", "taken", "waited")

TERMS = len(reward.TERMS)
WIDTH = TACTICAL.action_width
AGENTS = len(TACTICAL.agents)

RULES = np.dtype(
    [
        ("horizon", np.int64),
        ("limit", np.int64),
        ("leverage", np.float64),
        ("risk_scale", np.float64),  # risk use over the day's sigma of the result / equity
        ("day_bars", np.float64),
        ("limit_bp", np.float64),
        ("strategic_bars", np.int64),
        ("strategic_step", np.float64),
        ("coefficient", np.float64),
        ("sharpness", np.float64),
        ("persistence", np.float64),
        ("sees_path", np.int64),
        ("commitment", np.int64),
    ]
)


class StepArrays(NamedTuple):
    """Everything that a step of N episodes reads and writes."""

    world: Barwise
    tactical: NDArray[np.float32]  # [bars, columns of the tactical matrix]
    ranges: NDArray[np.float64]  # [bars], average true range at each close, ticks
    expected: NDArray[np.float64]  # [bars], of the move to each close, ticks
    starts: NDArray[np.int64]
    accounts: NDArray[Any]  # ACCOUNT [N]
    breakers: NDArray[Any]  # BREAKERS [1]
    decision: NDArray[Any]  # TACTICAL_RULES [1]
    rules: NDArray[Any]  # RULES [1]
    weights: NDArray[np.float64]  # [terms]
    seeds: NDArray[np.uint64]  # [N]
    episodes: NDArray[np.int64]  # [N]
    last_bars: NDArray[np.int64]  # [N], that the episode plays
    above: NDArray[np.float64]  # [bars, 7], see `envs.tactical.upstream`; of 0 bars where sampled
    strategic: NDArray[np.float64]  # [N, 5], SELL, HOLD, BUY, confidence and coherence
    strategic_targets: NDArray[np.float64]  # [N], share of the limit
    followed: NDArray[np.float64]  # [N], strategic target of the bar before, likewise
    phases: NDArray[np.float64]  # [N], share of the strategic bar gone by
    stood: NDArray[np.int64]  # [N], bars that the tilt of the last step has stood
    wander: NDArray[np.float64]  # [N], what of the sampled signal knows no path
    choices: NDArray[np.float32]  # [N, agents], of the last step; -1 before the first
    masked: NDArray[np.int64]  # [N], choices that were not allowed
    counts: NDArray[np.int64]  # [N, 3], bars begun stopped and taken, and those waited
    terms: NDArray[np.float64]  # [N, terms], of the last step, by weights
    term_sums: NDArray[np.float64]  # [N, terms]
    actions: NDArray[np.float32]  # [N, action width], to be taken
    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    rewards: NDArray[np.float32]  # [N, agents]
    targets: NDArray[np.float32]  # [N, 0]
    terminations: NDArray[np.bool_]
    episode_metrics: NDArray[np.float64]
    raw_terms: NDArray[np.float64]  # [terms], scratch


def _risk_scale(config: RiskLimitConfig) -> float:
    """Risk use per sigma of a day's result over equity, the larger of both limits'."""
    quantile = NormalDist().inv_cdf
    return max(quantile(0.95) / config.var95_limit, quantile(0.99) / config.var99_limit)


def _rules(config: TacticalConfig, world: Barwise, training: bool) -> NDArray[Any]:
    """RULES [1] of a configuration."""
    above = config.upstream
    # On real bars a signal that knows the path would be a leak from the future.
    real = isinstance(config.market.reference, BarReference)
    values = {
        "horizon": config.horizon_bars,
        "limit": max(round(config.account.limit_participation * usual_bar_volume(world)), 1),
        "leverage": config.account.leverage,
        "risk_scale": _risk_scale(config.risk),
        "day_bars": config.risk.day_bars,
        "limit_bp": config.reward.limit_bp,
        "strategic_bars": above.bars,
        "strategic_step": above.step,
        "coefficient": 0.0 if real else above.information_coefficient,
        "sharpness": above.sharpness,
        "persistence": above.persistence,
        "sees_path": config.critic_sees_path,
        "commitment": config.tilt.commitment_bars if training else 1,
    }
    rules = np.zeros(1, RULES)
    for name, value in values.items():
        rules[name] = value
    return rules


def step_arrays(
    config: TacticalConfig,
    tape: BarTape,
    tactical: NDArray[np.float32],
    ranges: NDArray[np.float64],
    expected: NDArray[np.float64],
    starts: NDArray[np.int64],
    num: int,
    above: NDArray[np.float64] | None = None,
    training: bool = False,
) -> StepArrays:
    """Arrays of `num` episodes on `tape`; every row waits for its reset.

    Args:
        training: whether tilts stand for `TiltConfig.commitment_bars`.
        above: what a strategic artefact says before each bar; None where it is sampled.
    """
    if above is None:
        above = np.zeros((0, ABOVE_WIDTH))
        above.flags.writeable = False
    world = allocate_barwise(config, tape, num)
    decision = np.zeros(1, TACTICAL_RULES)
    for name in TACTICAL_RULES.names or ():
        decision[name] = getattr(config.tilt, name)
    terms = np.zeros((num, TERMS))
    return StepArrays(
        world=world,
        tactical=np.ascontiguousarray(tactical),
        ranges=ranges,
        expected=expected,
        starts=starts,
        accounts=np.zeros(num, ACCOUNT),
        breakers=breakers(config.account),
        decision=decision,
        rules=_rules(config, world, training),
        weights=reward.weights_of(config.reward),
        seeds=np.zeros(num, np.uint64),
        episodes=np.zeros(num, np.int64),
        last_bars=np.zeros(num, np.int64),
        above=above,
        strategic=np.zeros((num, STRATEGIC_WIDTH)),
        strategic_targets=np.zeros(num),
        followed=np.zeros(num),
        phases=np.zeros(num),
        stood=np.zeros(num, np.int64),
        wander=np.zeros(num),
        choices=np.zeros((num, AGENTS), np.float32),
        masked=np.zeros(num, np.int64),
        counts=np.zeros((num, 3), np.int64),
        terms=terms,
        term_sums=np.zeros_like(terms),
        actions=np.zeros((num, WIDTH), np.float32),
        rows=np.zeros((num, TACTICAL.row_width), np.float32),
        states=np.zeros((num, TACTICAL.state_width), np.float32),
        rewards=np.zeros((num, AGENTS), np.float32),
        targets=np.zeros((num, 0), np.float32),
        terminations=np.ones(num, np.bool_),
        episode_metrics=np.zeros((num, len(METRICS))),
        raw_terms=np.zeros(TERMS),
    )


@cache
def step_arrays_kind() -> Any:
    """The numba type of `StepArrays`, which is the same for every configuration."""
    bars = 3
    tape = Tape(
        np.ones((bars, 4)), np.ones(bars), np.ones(bars), np.ones(bars), np.ones(bars, np.int64)
    )
    rows, ranges = np.zeros((bars, 1), np.float32), np.ones(bars)
    # Tables of data sets are read-only, whichever they are.
    rows.flags.writeable = ranges.flags.writeable = False
    starts = np.zeros(1, np.int64)
    told = step_arrays(TacticalConfig(), BarTape(tape, 1.0, 1.0), rows, ranges, ranges, starts, 1)
    return numba.typeof(told)


arrays_at = pinned_as(step_arrays_kind)


@kernel
def _compile_step_arrays(arguments: Any) -> Any:
    return compiled_form(arguments)


def _form(arrays: StepArrays) -> Any:
    """A plain function: a pickled kernel would be compiled anew."""
    return _compile_step_arrays(arrays)


def pin_step_arrays(arrays: StepArrays) -> Pinned:
    """The arrays and the address by which kernels take them.

    Raises:
        SimulatorError: see `Pinned`.
    """
    return Pinned(arrays, step_arrays_kind, _form)

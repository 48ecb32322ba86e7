"""One bar of many analytic episodes: decision, closed-form market, utility, observation."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from market.analytic.lattice import decision_rules, next_units
from market.analytic.laws import ALMGREN_CHRISS, REGIME, Path, draw_episode, draw_start, law_of
from market.analytic.terms import BP, bar_utility, charge, exposure, risk_charge, terms_of
from market.kernels import inlined, kernel
from market.pinned import Pinned, compiled_form, pinned_as
from market.targets import HOLD, MOVES, may_choose
from signals.analytic import AHEAD, ODDS_SCALE, analytic_layout

REWARD_TERMS = ("moves", "costs", "risk", "curvature")
METRICS = (
    "utility_bp", "steady_utility_bp", "moves_bp", "costs_bp", "risk_bp", "turnover", "exposure",
    "masked", "steps",
)  # fmt: skip
ACCEPTED = -1  # as the position of the first refused number

_TERMS = len(REWARD_TERMS)
_MOVED, _COSTS, _RISK, _CURVED = range(_TERMS)
_AGENTS, _DIRECTIONAL, _CHOICES = 4, 3, 5
_WIDTH = _AGENTS
_BOUND = 10.0  # of columns that have no bound of their own

RULES = np.dtype([("horizon", np.int64), ("limit", np.int64)])
TALLY = np.dtype(
    [
        ("utility", np.float64),
        ("steady", np.float64),
        ("moves", np.float64),
        ("costs", np.float64),
        ("risk", np.float64),
        ("turnover", np.float64),
        ("exposure", np.float64),
        ("masked", np.int64),
    ]
)


class StepArrays(NamedTuple):
    """Everything that a step of N episodes reads and writes."""

    law: NDArray[Any]  # LAW [1]
    terms_of_trade: NDArray[Any]  # TERMS [1]
    decision: NDArray[Any]  # STRATEGIC_RULES [1]
    rules: NDArray[Any]  # RULES [1]
    returns: NDArray[np.float64]  # [N, bars]
    foreseen: NDArray[np.float64]  # [N, bars]
    features: NDArray[np.float64]  # [N, bars]
    path: NDArray[np.float64]  # [N, bars + 1], returns summed
    bars: NDArray[np.int64]  # [N], played
    units: NDArray[np.int64]  # [N], position
    tallies: NDArray[Any]  # TALLY [N]
    seeds: NDArray[np.uint64]
    episodes: NDArray[np.int64]
    choices: NDArray[np.float32]  # [N, agents], with what masks forbid made HOLD
    terms: NDArray[np.float64]  # [N, terms], of the last step, bp
    actions: NDArray[np.float32]
    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    rewards: NDArray[np.float32]
    targets: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    episode_metrics: NDArray[np.float64]


def step_arrays(config: AnalyticConfig, num: int) -> StepArrays:
    """Arrays of `num` episodes; every row waits for its reset."""
    layout, bars = analytic_layout(config.name), config.horizon_bars
    rules = np.zeros(1, RULES)
    rules["horizon"], rules["limit"] = bars, config.limit_units
    return StepArrays(
        law=law_of(config),
        terms_of_trade=terms_of(config),
        decision=decision_rules(config),
        rules=rules,
        returns=np.zeros((num, bars)),
        foreseen=np.zeros((num, bars)),
        features=np.zeros((num, bars)),
        path=np.zeros((num, bars + 1)),
        bars=np.zeros(num, np.int64),
        units=np.zeros(num, np.int64),
        tallies=np.zeros(num, TALLY),
        seeds=np.zeros(num, np.uint64),
        episodes=np.zeros(num, np.int64),
        choices=np.zeros((num, _AGENTS), np.float32),
        terms=np.zeros((num, _TERMS)),
        actions=np.zeros((num, _WIDTH), np.float32),
        rows=np.zeros((num, layout.row_width), np.float32),
        states=np.zeros((num, layout.state_width), np.float32),
        rewards=np.zeros((num, _AGENTS), np.float32),
        targets=np.zeros((num, 0), np.float32),
        terminations=np.ones(num, np.bool_),
        episode_metrics=np.zeros((num, len(METRICS))),
    )


@cache
def step_arrays_kind() -> Any:
    """The numba type of `StepArrays`, which is the same for every market."""
    return numba.typeof(step_arrays(AnalyticConfig(horizon_bars=2), 1))


_arrays_at = pinned_as(step_arrays_kind)


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


@inlined
def _clipped(value: float) -> float:
    return min(max(value, -_BOUND), _BOUND)


@inlined
def _allowed(arrays: Any, n: int) -> float:
    """The share of the limit that may be held after the next bar: none once it is the last."""
    return 0.0 if arrays.bars[n] >= arrays.rules[0].horizon - 1 else 1.0


@inlined
def _write_feature(law: Any, feature: float, state: Any) -> int:
    """Write the law's own columns; the place after them."""
    if law.kind == ALMGREN_CHRISS:
        return 0
    if law.kind != REGIME:
        state[0] = _clipped(feature)
        return 1
    state[0] = feature
    # A posterior of exactly 0 or 1 has infinite odds.
    state[1] = _clipped(math.log(feature / (1.0 - feature)) / ODDS_SCALE)
    return 2


@inlined
def _write_path(arrays: Any, n: int, position: float, state: Any, at: int) -> None:
    """Write the columns of the path to come, from place `at`."""
    bar, bars = arrays.bars[n], arrays.rules[0].horizon
    for ahead in (AHEAD[0], AHEAD[1], AHEAD[2], AHEAD[3], bars):
        until = min(bar + ahead, bars)
        move = 0.0
        if until > bar:
            scale = arrays.law[0].scale * math.sqrt(until - bar)
            move = (arrays.path[n, until] - arrays.path[n, bar]) / scale
        state[at] = _clipped(move)
        state[at + 1] = _clipped(move) * position
        at += 2


@inlined
def _observe(arrays: Any, n: int) -> None:
    """Write row and state of episode `n`, in the order of `signals.analytic`."""
    state, row, rules, law = arrays.states[n], arrays.rows[n], arrays.rules[0], arrays.law[0]
    bar = arrays.bars[n]
    left = rules.horizon - bar
    # After the last bar nothing is decided: the feature stands as it was.
    at = _write_feature(law, arrays.features[n, min(bar, rules.horizon - 1)], state)
    position = arrays.units[n] / rules.limit
    state[at] = position
    state[at + 1] = left / rules.horizon
    state[at + 2] = 1.0 / left if left > 0 else 0.0
    at += 3
    allowed = _allowed(arrays, n)
    for choice in range(MOVES):
        state[at + choice] = 1.0 if may_choose(choice, position, allowed) else 0.0
    at += MOVES
    row[:] = state[:at]
    if law.kind != ALMGREN_CHRISS:
        _write_path(arrays, n, position, state, at)


@kernel
def begin_rows(address: int, indices: Any) -> None:
    """Begin the next episodes of `indices`, by `seeds` and `episodes`."""
    arrays = _arrays_at(address)
    for n in indices:
        seed, episode = arrays.seeds[n], arrays.episodes[n]
        drawn = Path(arrays.returns[n], arrays.foreseen[n], arrays.features[n])
        draw_episode(seed, episode, arrays.law[0], drawn)
        for k in range(arrays.rules[0].horizon):
            arrays.path[n, k + 1] = arrays.path[n, k] + arrays.returns[n, k]
        arrays.bars[n] = 0
        arrays.units[n] = draw_start(seed, episode, arrays.law[0]) * arrays.rules[0].limit
        tally = arrays.tallies[n]
        tally.utility, tally.steady = 0.0, 0.0
        tally.moves, tally.costs, tally.risk = 0.0, 0.0, 0.0
        tally.turnover, tally.exposure, tally.masked = 0.0, 0.0, 0
        arrays.choices[n, :] = HOLD
        arrays.terms[n, :] = 0.0
        arrays.rewards[n, :] = 0.0
        arrays.terminations[n] = False
        _observe(arrays, n)


@inlined
def _pay(arrays: Any, n: int, before: float, after: float) -> None:
    """Terms, reward and tally of the bar just played, in basis points of a full position."""
    terms, out, tally = arrays.terms_of_trade[0], arrays.terms[n], arrays.tallies[n]
    gain = arrays.returns[n, arrays.bars[n]]
    held = exposure(before, after, terms)
    earned = BP * terms.leverage * terms.paid * held
    utility = BP * bar_utility(before, after, gain, terms)
    out[_MOVED] = earned * gain
    out[_COSTS] = -BP * terms.leverage * charge(before, after, terms)
    out[_RISK] = -BP * risk_charge(held, terms)
    out[_CURVED] = utility - out[_MOVED] - out[_COSTS] - out[_RISK]
    tally.utility += utility
    # What nobody could foresee has mean zero at every decision: without it the same mean.
    tally.steady += utility - earned * (gain - arrays.foreseen[n, arrays.bars[n]])
    tally.moves += out[_MOVED]
    tally.costs -= out[_COSTS]
    tally.risk -= out[_RISK]
    tally.turnover += abs(after - before)
    tally.exposure += abs(after)
    for agent in range(_AGENTS):
        arrays.rewards[n, agent] = utility


@kernel
def _step_row(address: int, n: int) -> None:
    """One bar of episode `n` under its joint action."""
    arrays = _arrays_at(address)
    rules, action = arrays.rules[0], arrays.actions[n]
    allowed, position = _allowed(arrays, n), arrays.units[n] / rules.limit
    for agent in range(_AGENTS):
        arrays.choices[n, agent] = action[agent]
        # What is not allowed is HOLD.
        if agent < _DIRECTIONAL and not may_choose(int(action[agent]), position, allowed):
            arrays.choices[n, agent] = HOLD
            arrays.tallies[n].masked += 1
    units = next_units(arrays.choices[n], arrays.units[n], rules.limit, arrays.decision[0], allowed)
    _pay(arrays, n, position, units / rules.limit)
    arrays.units[n] = units
    arrays.bars[n] += 1
    if arrays.bars[n] >= rules.horizon:
        arrays.terminations[n] = True
        _write_metrics(arrays, n)
    _observe(arrays, n)


@inlined
def _write_metrics(arrays: Any, n: int) -> None:
    """The finished episode's metrics, in the order of METRICS."""
    tally, out, bars = arrays.tallies[n], arrays.episode_metrics[n], arrays.bars[n]
    out[0], out[1] = tally.utility, tally.steady
    out[2], out[3], out[4] = tally.moves, tally.costs, tally.risk
    out[5], out[6] = tally.turnover / bars, tally.exposure / bars
    out[7], out[8] = tally.masked / (bars * _DIRECTIONAL), bars


@inlined
def _first_refused(action: Any) -> int:
    """Position of the first number that is no choice, or ACCEPTED."""
    for position in range(_WIDTH):
        # A comparison with NaN is false, so that one test covers range and finiteness.
        inside = 0.0 <= action[position] <= _CHOICES - 1
        if not inside or action[position] != int(action[position]):
            return position
    return ACCEPTED


@kernel
def step_rows(address: int) -> int:
    """Step all running episodes, or none where a number of theirs is refused.

    Returns that number's position in the flattened actions, or ACCEPTED.
    """
    arrays = _arrays_at(address)
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            position = _first_refused(arrays.actions[n])
            if position != ACCEPTED:
                return n * _WIDTH + position
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            _step_row(address, n)
    return ACCEPTED

"""One bar of many tactical episodes: decision, market, account, reward, observation."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from configs.market import BarReference
from configs.tactical import RiskLimitConfig, TacticalConfig
from envs.barwise.kernels import (
    ACCEPTED,
    allowed_now,
    copy_window,
    first_refused,
    result_metrics,
    write_metrics,
)
from envs.tactical.upstream import ABOVE_WIDTH, STRATEGIC_WIDTH, follow_strategic
from market.account import ACCOUNT, breakers, open_account, settle
from market.bar_tape import BarTape, Tape
from market.barwise import Barwise, allocate_barwise, begin_episode, play_bar, usual_bar_volume
from market.kernels import inlined, kernel
from market.pinned import Pinned, compiled_form, pinned_as
from market.random import PURPOSE_START, stream_key, uniform
from market.targets import (
    NO_SHARE,
    NO_TILT,
    TACTICAL_RULES,
    gain_in_ranges,
    may_share,
    may_tilt,
    may_work,
    tactical_target,
)
from market.working import TWAP, WAIT
from rewards import tactical as reward
from rewards.composition import composed
from signals.account import write_account, write_ahead
from signals.tactical import MATRIX, TACTICAL

METRICS = (*result_metrics(reward.TERMS), "stopped", "taken", "waited")

_TERMS = len(reward.TERMS)
_WIDTH = TACTICAL.action_width
_AGENTS = len(TACTICAL.agents)
_CHOICES = 5
_TILT, _SHARE, _STYLE = range(_AGENTS)
_MATRIX = len(MATRIX)
_EQUITY, _ENTRY, _LIMIT, _BENCHMARK, _CHANCE = range(_TERMS)
# Why the target of the next bar is flat: not at all, by a stop, by a target that was reached,
# or because nothing may be held (the last bar, or a halted account).
_OPEN, _STOPPED, _TAKEN, _OVER = range(4)
_FREE = -1  # the tactical agent is held to no tilt
_MOST_ROOM, _MOST_RISK = 2.0, 10.0
_LEAST_DISTANCE, _MOST_DISTANCE = -2.0, 4.0

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
    terms = np.zeros((num, _TERMS))
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
        choices=np.zeros((num, _AGENTS), np.float32),
        masked=np.zeros(num, np.int64),
        counts=np.zeros((num, 3), np.int64),
        terms=terms,
        term_sums=np.zeros_like(terms),
        actions=np.zeros((num, _WIDTH), np.float32),
        rows=np.zeros((num, TACTICAL.row_width), np.float32),
        states=np.zeros((num, TACTICAL.state_width), np.float32),
        rewards=np.zeros((num, _AGENTS), np.float32),
        targets=np.zeros((num, 0), np.float32),
        terminations=np.ones(num, np.bool_),
        episode_metrics=np.zeros((num, len(METRICS))),
        raw_terms=np.zeros(_TERMS),
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
def _gain(arrays: Any, n: int) -> float:
    """What the position has gained at the close before, in average true ranges."""
    account, bar = arrays.accounts[n], arrays.world.places[n].bar
    return gain_in_ranges(account.position, account.entry, account.mark, arrays.ranges[bar - 1])


@inlined
def _closing(arrays: Any, n: int, allowed: float) -> int:
    """Why the target of the next bar is flat, or _OPEN where it is not."""
    if allowed <= 0.0:
        return _OVER
    gain, decision = _gain(arrays, n), arrays.decision[0]
    if gain <= -decision.stop_atr:
        return _STOPPED
    return _TAKEN if gain >= decision.target_atr else _OPEN


@inlined
def _bound(account: Any, allowed: float, closing: int) -> bool:
    """Whether the next bar must trade: toward flat, or down to what drawdown leaves."""
    return closing != _OPEN or abs(account.position) > round(allowed * account.limit)


@inlined
def _committed(arrays: Any, n: int, closing: int) -> int:
    """The tilt that the tactical agent is held to in the next bar, or _FREE."""
    tilt = int(arrays.choices[n, _TILT])
    if closing != _OPEN or tilt <= NO_TILT or arrays.stood[n] >= arrays.rules[0].commitment:
        return _FREE
    return tilt


@inlined
def _allows(agent: int, choice: int, closing: int, bound: bool, committed: int) -> bool:
    if agent == _TILT and committed != _FREE:
        return choice == committed
    if agent == _TILT:
        return may_tilt(choice, closing != _OPEN)
    if agent == _SHARE:
        return may_share(choice, closing != _OPEN)
    return may_work(choice, bound)


@inlined
def _risk_use(arrays: Any, n: int, bar: int) -> float:
    """VaR of the position over its limit: SPEC section 7's u, by the ranges before `bar`."""
    account, rules = arrays.accounts[n], arrays.rules[0]
    sigma = arrays.world.tape.sigma[bar] * math.sqrt(rules.day_bars)
    return rules.risk_scale * abs(account.position) * sigma / max(account.equity, 1.0)


@inlined
def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@inlined
def _write_plan(arrays: Any, n: int, out: Any, at: int) -> int:
    """The strategic columns and PLAN from place `at`; the place after them."""
    decision, place = arrays.decision[0], arrays.world.places[n]
    for column in range(STRATEGIC_WIDTH):
        out[at + column] = arrays.strategic[n, column]
    at += STRATEGIC_WIDTH
    target, gain = arrays.strategic_targets[n], _gain(arrays, n)
    out[at] = target
    out[at + 1] = arrays.phases[n]
    out[at + 2] = _clipped(decision.kelly_cap - target, 0.0, _MOST_ROOM)
    out[at + 3] = _clipped(decision.kelly_cap + target, 0.0, _MOST_ROOM)
    to_stop = 1.0 + gain / decision.stop_atr
    to_target = 1.0 - gain / decision.target_atr
    out[at + 4] = _clipped(to_stop, _LEAST_DISTANCE, _MOST_DISTANCE)
    out[at + 5] = _clipped(to_target, _LEAST_DISTANCE, _MOST_DISTANCE)
    use = _risk_use(arrays, n, min(place.bar, arrays.last_bars[n]))
    out[at + 6] = min(use, _MOST_RISK)
    return at + 7


@inlined
def _active(arrays: Any, n: int, followed: float) -> float:
    """What the path's moves are paid on beside the benchmark, units.

    Args:
        followed: the benchmark's position, share of the limit.
    """
    account, weights = arrays.accounts[n], arrays.weights
    return weights[_EQUITY] * account.position - weights[_BENCHMARK] * followed * account.limit


@inlined
def _observe(arrays: Any, n: int) -> None:
    """Write row and state of episode `n`, in the order of `signals.tactical`."""
    state, account = arrays.states[n], arrays.accounts[n]
    bar, rules = arrays.world.places[n].bar, arrays.rules[0]
    # At the close of the bar before.
    at = copy_window(arrays.tactical, bar - 1, _MATRIX, state, 0)
    allowed = allowed_now(arrays, n)
    left = (arrays.last_bars[n] - bar + 1) / rules.horizon
    at = write_account(account, arrays.breakers[0].halt, allowed, left, state, at)
    at = _write_plan(arrays, n, state, at)
    for agent in range(_AGENTS):
        for choice in range(_CHOICES):
            state[at] = 1.0 if arrays.choices[n, agent] == choice else 0.0
            at += 1
    closing = _closing(arrays, n, allowed)
    bound, committed = _bound(account, allowed, closing), _committed(arrays, n, closing)
    for agent in range(_AGENTS):
        for choice in range(_CHOICES):
            state[at] = 1.0 if _allows(agent, choice, closing, bound, committed) else 0.0
            at += 1
    arrays.rows[n, :] = state[:at]
    if rules.sees_path == 1:
        held = _active(arrays, n, arrays.strategic_targets[n])
        write_ahead(arrays.world.tape, bar, arrays.last_bars[n], account, held, state, at)


@kernel
def begin_rows(address: int, indices: Any) -> None:
    """Begin the next episodes of `indices`, by `seeds` and `episodes`."""
    arrays = _arrays_at(address)
    rules = arrays.rules[0]
    for n in indices:
        seed, episode = arrays.seeds[n], arrays.episodes[n]
        draw = uniform(stream_key(seed, episode, PURPOSE_START), 0)
        start = arrays.starts[int(draw * len(arrays.starts))]
        begin_episode(arrays.world, n, seed, episode, start + 1)
        arrays.last_bars[n] = start + rules.horizon
        mark = arrays.world.tape.ohlc[start, 3]
        open_account(arrays.accounts[n], rules.limit, rules.leverage, mark)
        arrays.strategic_targets[n] = 0.0
        arrays.followed[n] = 0.0
        follow_strategic(arrays, n)
        arrays.choices[n, :] = -1.0
        arrays.stood[n] = 0
        arrays.masked[n] = 0
        arrays.counts[n, :] = 0
        arrays.terms[n, :] = 0.0
        arrays.term_sums[n, :] = 0.0
        arrays.rewards[n, :] = 0.0
        arrays.terminations[n] = False
        _observe(arrays, n)


@inlined
def _benchmark(arrays: Any, n: int, bar: int) -> float:
    """The benchmark's term of bar `bar`; its target is followed from then on.

    Who follows the target is flat before and after the episode, as the account is.
    """
    account, ohlc = arrays.accounts[n], arrays.world.tape.ohlc
    target = arrays.strategic_targets[n] if bar < arrays.last_bars[n] else 0.0
    before = arrays.followed[n]
    gain = before * (ohlc[bar, 0] - ohlc[bar - 1, 3])
    gain += 0.5 * (before + target) * (ohlc[bar, 3] - ohlc[bar, 0])
    arrays.followed[n] = target
    return reward.benchmark_term(gain * account.limit, account.initial)


@inlined
def _pay(arrays: Any, n: int, bar: int, held: float) -> None:
    """Terms and reward of bar `bar`, just played.

    Args:
        held: `_active` before it.
    """
    account, worked, terms = arrays.accounts[n], arrays.world.worked[n], arrays.raw_terms
    base = account.initial
    terms[_EQUITY] = reward.equity_term(account.before, account.equity, base)
    terms[_ENTRY] = 0.0
    if worked.quantity > 0:
        # On the reference path, as the account is: what the fills missed the mid by, and impact.
        missed = worked.side * (worked.impact_value + worked.slippage)
        price = (worked.reference_value + missed) / worked.quantity
        vwap = worked.volume_value / worked.volume if worked.volume > 0.0 else np.nan
        terms[_ENTRY] = reward.entry_term(worked.side * worked.quantity, price, vwap, base)
    use = _risk_use(arrays, n, bar)
    terms[_LIMIT] = reward.limit_term(use, arrays.rules[0].limit_bp)
    terms[_BENCHMARK] = _benchmark(arrays, n, bar)
    move = arrays.world.tape.ohlc[bar, 3] - arrays.world.tape.ohlc[bar - 1, 3]
    terms[_CHANCE] = reward.chance_term(held, move, arrays.expected[bar], base)
    paid = composed(arrays.weights, terms, arrays.terms[n])
    for term in range(_TERMS):
        arrays.term_sums[n, term] += arrays.terms[n, term]
    for agent in range(_AGENTS):
        arrays.rewards[n, agent] = paid


@inlined
def _take_choices(arrays: Any, n: int, closing: int, bound: bool) -> None:
    """The joint action as `choices`; what is not allowed does nothing, and is counted.

    To do nothing is to HOLD, or to keep the tilt that one is held to; where the bar must close,
    it is to take no share and to be worked evenly over the bar.
    """
    action, choices = arrays.actions[n], arrays.choices[n]
    committed = _committed(arrays, n, closing)
    arrays.stood[n] = arrays.stood[n] + 1 if committed != _FREE else 1
    idle = NO_TILT if committed == _FREE else committed
    for agent in range(_AGENTS):
        choices[agent] = action[agent]
        if not _allows(agent, int(action[agent]), closing, bound, committed):
            choices[agent] = idle if agent == _TILT else NO_SHARE if agent == _SHARE else TWAP
            arrays.masked[n] += 1


@inlined
def _count(arrays: Any, n: int, closing: int) -> None:
    """What the episode's metrics tell of its bars."""
    arrays.counts[n, 0] += 1 if closing == _STOPPED else 0
    arrays.counts[n, 1] += 1 if closing == _TAKEN else 0
    arrays.counts[n, 2] += 1 if arrays.choices[n, _STYLE] == WAIT else 0


@kernel
def _step_row(address: int, n: int) -> None:
    """One bar of episode `n` under its joint action, and everything that follows."""
    arrays = _arrays_at(address)
    world, account, choices = arrays.world, arrays.accounts[n], arrays.choices[n]
    bar = world.places[n].bar
    allowed = allowed_now(arrays, n)
    closing = _closing(arrays, n, allowed)
    _take_choices(arrays, n, closing, _bound(account, allowed, closing))
    _count(arrays, n, closing)
    tilt, share, style = int(choices[_TILT]), int(choices[_SHARE]), int(choices[_STYLE])
    target = 0.0
    if closing == _OPEN:
        strategic = arrays.strategic_targets[n]
        target = tactical_target(tilt, share, strategic, arrays.decision[0], allowed)
    signed = 0 if style == WAIT else round(target * account.limit) - account.position
    held = _active(arrays, n, arrays.followed[n])
    play_bar(world, n, signed, style if signed != 0 else WAIT)
    settle(account, world.worked[n], world.tape.ohlc[bar, 3])
    if account.drawdown >= arrays.breakers[0].halt:
        account.halted = 1
    _pay(arrays, n, bar, held)
    arrays.terminations[n] = bar >= arrays.last_bars[n]
    if arrays.terminations[n]:
        at = write_metrics(arrays, n, _AGENTS)
        for count in range(3):
            arrays.episode_metrics[n, at + count] = arrays.counts[n, count]
    else:
        follow_strategic(arrays, n)
    _observe(arrays, n)


@kernel
def step_rows(address: int) -> int:
    """Step all running episodes, or none where a number of theirs is refused.

    Returns that number's position in the flattened actions, or ACCEPTED.
    """
    arrays = _arrays_at(address)
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            position = first_refused(arrays.actions[n], _CHOICES)
            if position != ACCEPTED:
                return n * _WIDTH + position
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            _step_row(address, n)
    return ACCEPTED

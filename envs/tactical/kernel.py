"""One bar of many tactical episodes: decision, market, account, reward, observation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.barwise.kernels import (
    ACCEPTED,
    allowed_now,
    copy_window,
    first_refused,
    write_metrics,
)
from envs.tactical.arrays import AGENTS, TERMS, WIDTH, arrays_at
from envs.tactical.upstream import STRATEGIC_WIDTH, follow_strategic
from market.account import open_account, settle
from market.barwise import begin_episode, play_bar
from market.kernels import inlined, kernel
from market.random import PURPOSE_START, stream_key, uniform
from market.targets import (
    NO_SHARE,
    NO_TILT,
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
from signals.tactical import MATRIX

_CHOICES = 5
_TILT, _SHARE, _STYLE = range(AGENTS)
_MATRIX = len(MATRIX)
_EQUITY, _ENTRY, _LIMIT, _BENCHMARK, _CHANCE = range(TERMS)
# Why the target of the next bar is flat: not at all, by a stop, by a target that was reached,
# or because nothing may be held (the last bar, or a halted account).
_OPEN, _STOPPED, _TAKEN, _OVER = range(4)
_FREE = -1  # the tactical agent is held to no tilt
_MOST_ROOM, _MOST_RISK = 2.0, 10.0
_LEAST_DISTANCE, _MOST_DISTANCE = -2.0, 4.0


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
    for agent in range(AGENTS):
        for choice in range(_CHOICES):
            state[at] = 1.0 if arrays.choices[n, agent] == choice else 0.0
            at += 1
    closing = _closing(arrays, n, allowed)
    bound, committed = _bound(account, allowed, closing), _committed(arrays, n, closing)
    for agent in range(AGENTS):
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
    arrays = arrays_at(address)
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
    for term in range(TERMS):
        arrays.term_sums[n, term] += arrays.terms[n, term]
    for agent in range(AGENTS):
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
    for agent in range(AGENTS):
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
    arrays = arrays_at(address)
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
        at = write_metrics(arrays, n, AGENTS)
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
    arrays = arrays_at(address)
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            position = first_refused(arrays.actions[n], _CHOICES)
            if position != ACCEPTED:
                return n * WIDTH + position
    for n in range(len(arrays.terminations)):
        if not arrays.terminations[n]:
            _step_row(address, n)
    return ACCEPTED

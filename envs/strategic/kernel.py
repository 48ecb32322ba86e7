"""One bar of many strategic episodes: decision, market, account, reward, observation."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from configs.strategic import StrategicConfig
from envs.barwise.kernels import (
    ACCEPTED,
    allowed_now,
    copy_window,
    first_refused,
    result_metrics,
    write_metrics,
)
from market.account import ACCOUNT, breakers, open_account, settle
from market.bar_tape import BarTape, Tape
from market.barwise import Barwise, allocate_barwise, begin_episode, play_bar, usual_bar_volume
from market.kernels import inlined, kernel
from market.pinned import Pinned, compiled_form, pinned_as
from market.random import PURPOSE_START, stream_key, uniform
from market.targets import HOLD, MOVES, STRATEGIC_RULES, may_choose, strategic_target
from market.working import TWAP, WAIT
from rewards import strategic as reward
from rewards.composition import composed
from signals.account import write_account, write_ahead
from signals.strategic import MATRIX, NEXT_RETURN, REGIMES, STRATEGIC, strategic_layout

METRICS = result_metrics(reward.TERMS)

_TERMS = len(reward.TERMS)
_WIDTH = STRATEGIC.action_width
_AGENTS = len(STRATEGIC.agents)
_DIRECTIONAL = _AGENTS - 1
_CHOICES = 5
_MATRIX, _REGIMES = len(MATRIX), len(REGIMES)
_SHOWN = NEXT_RETURN.high
_EQUITY, _DRAWDOWN, _TURNOVER, _SHARPE, _REVERSION = range(_TERMS)
_BP = 1e4
_TEN_BP = 10.0

RULES = np.dtype(
    [
        ("horizon", np.int64),
        ("limit", np.int64),
        ("leverage", np.float64),
        ("eta", np.float64),
        ("floor", np.float64),
        ("sharpe_bp", np.float64),
        ("turnover_bp", np.float64),
        ("full", np.float64),
        ("reversion_bars", np.int64),
        ("sees_path", np.int64),
        # In studies: see `configs.strategic.StudyColumnsConfig`.
        ("matrices", np.int64),
        ("next_return", np.int64),
    ]
)


class StepArrays(NamedTuple):
    """Everything that a step of N episodes reads and writes."""

    world: Barwise
    strategic: NDArray[np.float32]  # [bars, columns of the slow matrix]
    regimes: NDArray[np.float32]  # [bars, columns of the regime matrix]
    starts: NDArray[np.int64]
    accounts: NDArray[Any]  # ACCOUNT [N]
    breakers: NDArray[Any]  # BREAKERS [1]
    decision: NDArray[Any]  # STRATEGIC_RULES [1]
    rules: NDArray[Any]  # RULES [1]
    weights: NDArray[np.float64]  # [terms]
    seeds: NDArray[np.uint64]  # [N]
    episodes: NDArray[np.int64]  # [N]
    last_bars: NDArray[np.int64]  # [N], that the episode plays
    sharpe: NDArray[np.float64]  # [N, 2], moving averages of the result and of its square
    choices: NDArray[np.float32]  # [N, agents], of the last step; -1 before the first
    masked: NDArray[np.int64]  # [N], choices that were not allowed
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


def step_arrays(
    config: StrategicConfig,
    tape: BarTape,
    strategic: NDArray[np.float32],
    regimes: NDArray[np.float32],
    starts: NDArray[np.int64],
    num: int,
) -> StepArrays:
    """Arrays of `num` episodes on `tape`; every row waits for its reset."""
    world = allocate_barwise(config, tape, num)
    decision = np.zeros(1, STRATEGIC_RULES)
    decision["step"] = config.decision.step
    decision["small_step"] = config.decision.small_step
    rules, pay = np.zeros(1, RULES), config.reward
    values = {
        "horizon": config.horizon_bars,
        "limit": max(round(config.account.limit_participation * usual_bar_volume(world)), 1),
        "leverage": config.account.leverage,
        "eta": pay.eta,
        "floor": pay.variance_floor_bp2,
        "sharpe_bp": pay.sharpe_bp,
        "turnover_bp": pay.turnover_bp,
        "full": pay.reversion_full,
        "reversion_bars": pay.reversion_bars,
        "sees_path": config.critic_sees_path,
        "matrices": config.study.matrices,
        "next_return": config.study.next_return,
    }
    layout = strategic_layout(config.study)
    for name, value in values.items():
        rules[name] = value
    terms = np.zeros((num, _TERMS))
    return StepArrays(
        world=world,
        strategic=np.ascontiguousarray(strategic),
        regimes=np.ascontiguousarray(regimes),
        starts=starts,
        accounts=np.zeros(num, ACCOUNT),
        breakers=breakers(config.account),
        decision=decision,
        rules=rules,
        weights=reward.weights_of(pay),
        seeds=np.zeros(num, np.uint64),
        episodes=np.zeros(num, np.int64),
        last_bars=np.zeros(num, np.int64),
        sharpe=np.zeros((num, 2)),
        choices=np.zeros((num, _AGENTS), np.float32),
        masked=np.zeros(num, np.int64),
        terms=terms,
        term_sums=np.zeros_like(terms),
        actions=np.zeros((num, _WIDTH), np.float32),
        rows=np.zeros((num, layout.row_width), np.float32),
        states=np.zeros((num, layout.state_width), np.float32),
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
    rows = np.zeros((bars, 1), np.float32)
    config = StrategicConfig()
    # Tables of data sets are read-only, whichever they are.
    rows.flags.writeable = False
    told = step_arrays(config, BarTape(tape, 1.0, 1.0), rows, rows, np.zeros(1, np.int64), 1)
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
def _next_return(tape: Any, bar: int, last: int) -> float:
    """NEXT_RETURN where `bar` is to be played: by the sigma known now; none after `last`."""
    if bar >= last:
        return 0.0
    move = (tape.ohlc[bar + 1, 3] - tape.ohlc[bar, 3]) / tape.sigma[bar]
    return min(max(move, -_SHOWN), _SHOWN)


@inlined
def _observe(arrays: Any, n: int) -> None:
    """Write row and state of episode `n`, in the order of `signals.strategic`."""
    state, row, account = arrays.states[n], arrays.rows[n], arrays.accounts[n]
    bar, rules = arrays.world.places[n].bar, arrays.rules[0]
    at = 0
    if rules.matrices == 1:
        # At the close of the bar before.
        at = copy_window(arrays.strategic, bar - 1, _MATRIX, state, at)
        at = copy_window(arrays.regimes, bar - 1, _REGIMES, state, at)
    allowed = allowed_now(arrays, n)
    left = (arrays.last_bars[n] - bar + 1) / rules.horizon
    at = write_account(account, arrays.breakers[0].halt, allowed, left, state, at)
    mean = arrays.sharpe[n, 0]
    variance = max(arrays.sharpe[n, 1] - mean * mean, 0.0)
    state[at] = min(max(mean / _TEN_BP, -_TEN_BP), _TEN_BP)
    state[at + 1] = min(variance**0.5 / _TEN_BP, _TEN_BP)
    at += 2
    for agent in range(_AGENTS):
        for choice in range(_CHOICES):
            state[at] = 1.0 if arrays.choices[n, agent] == choice else 0.0
            at += 1
    position = account.position / account.limit
    for choice in range(MOVES):
        state[at] = 1.0 if may_choose(choice, position, allowed) else 0.0
        at += 1
    if rules.next_return == 1:
        state[at] = _next_return(arrays.world.tape, bar, arrays.last_bars[n])
        at += 1
    row[:] = state[:at]
    if rules.sees_path == 1:
        held = float(account.position)
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
        arrays.sharpe[n, 0] = 0.0
        arrays.sharpe[n, 1] = 0.0
        arrays.choices[n, :] = -1.0
        arrays.masked[n] = 0
        arrays.terms[n, :] = 0.0
        arrays.term_sums[n, :] = 0.0
        arrays.rewards[n, :] = 0.0
        arrays.terminations[n] = False
        _observe(arrays, n)


@inlined
def _pay(arrays: Any, n: int, worst_before: float, held: int, deviation: float) -> None:
    """Terms and reward of the bar just played."""
    account, rules, terms = arrays.accounts[n], arrays.rules[0], arrays.raw_terms
    base = account.initial
    change = reward.equity_term(account.before, account.equity, base)
    terms[_EQUITY] = change
    terms[_DRAWDOWN] = reward.drawdown_term(_BP * worst_before, _BP * account.worst_drawdown)
    traded = account.turnover * account.limit * account.mark
    terms[_TURNOVER] = reward.turnover_term(traded, base, rules.turnover_bp)
    mean, square = arrays.sharpe[n, 0], arrays.sharpe[n, 1]
    played = arrays.world.places[n].played - 1
    halted = account.halted == 1
    terms[_SHARPE] = reward.sharpe_term(
        mean, square, change, played, rules.eta, rules.floor, rules.sharpe_bp, halted
    )
    before = account.mark - account.holding / held if held != 0 else account.mark
    move = _BP * (account.mark - before) / before
    terms[_REVERSION] = reward.reversion_term(held * before / base, deviation, rules.full, move)
    arrays.sharpe[n, 0] = reward.sharpe_step(mean, change, rules.eta)
    arrays.sharpe[n, 1] = reward.sharpe_step(square, change * change, rules.eta)
    paid = composed(arrays.weights, terms, arrays.terms[n])
    for term in range(_TERMS):
        arrays.term_sums[n, term] += arrays.terms[n, term]
    for agent in range(_AGENTS):
        arrays.rewards[n, agent] = paid


@inlined
def _deviation(tape: Any, bar: int, bars: int) -> float:
    """The close before `bar` from its mean over `bars`, in the sigmas of so many bars."""
    mean = 0.0
    first = max(bar - bars, 0)
    for index in range(first, bar):
        mean += tape.ohlc[index, 3]
    mean /= bar - first
    return (tape.ohlc[bar - 1, 3] - mean) / (tape.sigma[bar] * bars**0.5)


@kernel
def _step_row(address: int, n: int) -> None:
    """One bar of episode `n` under its joint action, and everything that follows."""
    arrays = _arrays_at(address)
    world, account = arrays.world, arrays.accounts[n]
    action, bar = arrays.actions[n], world.places[n].bar
    allowed = allowed_now(arrays, n)
    position = account.position / account.limit
    for agent in range(_AGENTS):
        arrays.choices[n, agent] = action[agent]
        # What is not allowed is HOLD.
        if agent < _DIRECTIONAL and not may_choose(int(action[agent]), position, allowed):
            arrays.choices[n, agent] = HOLD
            arrays.masked[n] += 1
    target = strategic_target(arrays.choices[n], position, arrays.decision[0], allowed)
    signed = round(target * account.limit) - account.position
    held, worst = account.position, account.worst_drawdown
    deviation = _deviation(world.tape, bar, arrays.rules[0].reversion_bars)
    play_bar(world, n, signed, TWAP if signed != 0 else WAIT)
    settle(account, world.worked[n], world.tape.ohlc[bar, 3])
    if account.drawdown >= arrays.breakers[0].halt:
        account.halted = 1
    _pay(arrays, n, worst, held, deviation)
    arrays.terminations[n] = bar >= arrays.last_bars[n]
    if arrays.terminations[n]:
        write_metrics(arrays, n, _DIRECTIONAL)
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

"""One step of many execution episodes: market, reward, observation, in one compiled loop."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from market.decode import BP, price_in_ticks
from market.kernels import inlined, kernel
from market.pinned import Pinned, compiled_form, pinned_as
from market.random import hash64
from market.simulator import Simulator
from market.state import Market
from market.worker import work_step
from rewards.execution import TERMS, quality_term, risk_term, shortfall_term
from signals.execution import CONTEXT, EXECUTION
from signals.execution_rows import observe, observe_privileged
from signals.upstream import sample_context, sign_context

METRICS = (
    "shortfall_bp",
    "filled_before_cross",
    "slippage_bp",
    "quality",
    "steps",
    "reward",
    "reward_shortfall",
    "reward_risk",
    "reward_quality",
    "passive_share",
    "fees_bp",
    "stopped",
    "peak_var_use",
    "participation",
)
# Positions in a row of METRICS and of reward terms.
(
    _SHORTFALL,
    _FILLED,
    _SLIPPAGE,
    _QUALITY,
    _STEPS,
    _REWARD,
    _REWARD_SHORTFALL,
    _REWARD_RISK,
    _REWARD_QUALITY,
    _PASSIVE,
    _FEES,
    _STOPPED,
    _PEAK_VAR,
    _PARTICIPATION,
) = range(len(METRICS))
_COST, _RISK, _SCORE = range(len(TERMS))

# What a joint step came to.
ACCEPTED = -1  # as the position of the first refused number
RUNNING, ENDED, REFUSED = range(3)

_WIDTH = EXECUTION.action_width
_PARTS = tuple(EXECUTION.action_slice(i) for i in range(len(EXECUTION.agents)))
_STARTS = tuple(part.start for part in _PARTS)
_WIDTHS = tuple(part.stop - part.start for part in _PARTS)
_TIMING, _SOURCING, _FRAGMENTATION, _CONTROL, _MONITOR = range(len(EXECUTION.agents))
_SHARED = len(EXECUTION.shared)
_OWN = np.array([(s.start, s.stop) for s in map(EXECUTION.own_slice, range(len(_PARTS)))])
OBSERVATION_WIDTHS = tuple(_SHARED + len(agent.own) for agent in EXECUTION.agents)
UPSTREAM_WIDTHS = (EXECUTION.upstream_width,) * len(EXECUTION.agents)


def action_bounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest joint action, float32 [action width] each."""
    low = np.zeros(_WIDTH, np.float32)
    high = np.ones(_WIDTH, np.float32)
    for index, agent in enumerate(EXECUTION.agents):
        if agent.kind == "discrete":
            high[_PARTS[index]] = len(agent.components) - 1
    return low, high


_LOWEST, _HIGHEST = action_bounds()


class StepArrays(NamedTuple):
    """Everything that a step of N episodes reads and writes."""

    market: Market
    rules: NDArray[Any]  # RULES [1]
    children: NDArray[Any]  # CHILD [N, max_children], what was sent last
    cancels: NDArray[np.int8]  # [N, max_resting]
    decisions: NDArray[Any]  # DECISION [N]
    actions: NDArray[np.float32]  # [N, action width], to be taken
    context: NDArray[np.float64]  # [N, context width]
    term_sums: NDArray[np.float64]  # [N, reward terms]
    rows: NDArray[np.float32]  # [N, row width]
    states: NDArray[np.float32]  # [N, state width]
    rewards: NDArray[np.float32]  # [N, agents]
    targets: NDArray[np.float32]  # [N, 1]
    terminations: NDArray[np.bool_]  # [N]
    episode_metrics: NDArray[np.float64]  # [N, metrics]
    # [sum(OBSERVATION_WIDTHS) + agents x upstream width]: what the agents of row 0 see, then
    # an `upstream` for each, which stays 0.
    observations: NDArray[np.float32]
    by_quality: int  # 1 where the quality score is the reward


def step_arrays(simulator: Simulator) -> StepArrays:
    """The simulator's arrays and those of its rows; every row waits for its reset."""
    num = simulator.num
    return StepArrays(
        market=simulator.market,
        rules=simulator.rules,
        children=simulator.children,
        cancels=simulator.cancels,
        decisions=simulator.decisions,
        actions=np.zeros((num, _WIDTH), np.float32),
        context=np.zeros((num, len(CONTEXT))),
        term_sums=np.zeros((num, len(TERMS))),
        rows=np.zeros((num, EXECUTION.row_width), np.float32),
        states=np.zeros((num, EXECUTION.state_width), np.float32),
        rewards=np.zeros((num, len(EXECUTION.agents)), np.float32),
        targets=np.zeros((num, 1), np.float32),
        terminations=np.ones(num, np.bool_),
        episode_metrics=np.zeros((num, len(METRICS))),
        observations=np.zeros(sum(OBSERVATION_WIDTHS) + sum(UPSTREAM_WIDTHS), np.float32),
        by_quality=int(simulator.config.reward.objective == "documents"),
    )


@cache
def step_arrays_kind() -> Any:
    """The numba type of `StepArrays`, which is the same for every configuration."""
    return numba.typeof(step_arrays(Simulator(ExecutionConfig(), 1)))


_arrays_at = pinned_as(step_arrays_kind)


@kernel
def _compile_step_arrays(arguments: Any) -> Any:
    return compiled_form(arguments)


def pin_step_arrays(arrays: StepArrays) -> Pinned:
    """The arrays and the address by which kernels take them.

    Raises:
        SimulatorError: see `Pinned`.
    """
    return Pinned(arrays, step_arrays_kind, _step_arrays_form)


def _step_arrays_form(arrays: StepArrays) -> Any:
    """A plain function: a pickled kernel would be compiled anew."""
    return _compile_step_arrays(arrays)


@kernel
def row_seeds(seed: np.uint64, num: int) -> Any:
    """A seed per row, uint64 [num]; row n's does not depend on `num`."""
    out = np.empty(num, np.uint64)
    for n in range(num):
        out[n] = hash64(seed, n)
    return out


@inlined
def _observe(arrays: Any, n: int) -> None:
    market = arrays.market
    parent, episode = market.parents[n], market.episodes[n]
    state, row = arrays.states[n], arrays.rows[n]
    observe(parent, episode, market.depth[n], arrays.context[n], arrays.rules[0], state)
    observe_privileged(parent, episode, market.path[n], state)
    for index in range(len(row)):
        row[index] = state[index]


@kernel
def begin_rows(
    address: int,
    indices: Any,
    path_seeds: Any,
    coefficient: float,
    sharpness: float,
    said: Any,
    drawn: Any,
) -> None:
    """What a reset leaves to be done once the books are open: context and first observation.

    Args:
        said: float64 [m, context width], what artefacts of the layers above say before each
            bar, unsigned; of 0 bars where they are sampled.
        drawn: int64 [N], the row of `said` that each episode plays under.
    """
    arrays = _arrays_at(address)
    market = arrays.market
    for n in indices:
        parent, episode = market.parents[n], market.episodes[n]
        context = arrays.context[n]
        if len(said) > 0:
            sign_context(said[drawn[n]], parent.side, context)
        else:
            scale = episode.sigma * math.sqrt(parent.horizon)
            move = (market.path[n, parent.horizon] - market.path[n, 0]) / scale
            sample_context(
                path_seeds[n], episode.episode, parent.side, move, coefficient, sharpness, context
            )
        for term in range(arrays.term_sums.shape[1]):
            arrays.term_sums[n, term] = 0.0
        for agent in range(arrays.rewards.shape[1]):
            arrays.rewards[n, agent] = 0.0
        arrays.targets[n, 0] = 0.0
        arrays.terminations[n] = False
        _observe(arrays, n)


@kernel
def _write_metrics(parent: Any, episode: Any, sums: Any, out: Any) -> None:
    """The finished episode's metrics, in the order of METRICS."""
    price = price_in_ticks(parent, episode)
    filled = parent.filled_passive + parent.filled_aggressive
    traded = max(filled, 1)
    out[_SHORTFALL] = parent.shortfall
    out[_FILLED] = (parent.quantity - parent.forced - parent.abandoned) / parent.quantity
    out[_SLIPPAGE] = parent.slippage / traded / price * BP
    out[_QUALITY] = parent.quality_sum / parent.step
    out[_STEPS] = parent.step
    out[_REWARD] = parent.reward_sum
    out[_REWARD_SHORTFALL] = sums[_COST]
    out[_REWARD_RISK] = sums[_RISK]
    out[_REWARD_QUALITY] = sums[_SCORE]
    out[_PASSIVE] = parent.filled_passive / traded
    out[_FEES] = parent.fees / parent.quantity / price * BP
    out[_STOPPED] = parent.stopped
    out[_PEAK_VAR] = parent.peak_var
    out[_PARTICIPATION] = parent.participation


@kernel
def _step_row(address: int, n: int) -> None:
    """One step of episode `n` under its joint action, and everything that follows."""
    # By address: some forty arrays would be copied, part by part, at every call.
    arrays = _arrays_at(address)
    market, rules = arrays.market, arrays.rules[0]
    parent, episode = market.parents[n], market.episodes[n]
    before = parent.shortfall
    work_step(
        market,
        n,
        arrays.actions[n],
        rules,
        arrays.children[n],
        arrays.cancels[n],
        arrays.decisions[n],
    )
    sigma = episode.sigma / price_in_ticks(parent, episode) * BP
    share = parent.remaining / parent.quantity
    cost = shortfall_term(before, parent.shortfall)
    risk = risk_term(rules.risk_aversion, sigma, share)
    # What a stop abandons stays at risk to the horizon whose price it is charged.
    share = parent.abandoned / parent.quantity
    risk += (parent.horizon - parent.step) * risk_term(rules.risk_aversion, sigma, share)
    quality = quality_term(parent.quality, parent.horizon)
    reward = quality if arrays.by_quality == 1 else cost + risk
    sums = arrays.term_sums[n]
    sums[_COST] += cost
    sums[_RISK] += risk
    sums[_SCORE] += quality
    parent.reward_sum += reward
    for agent in range(arrays.rewards.shape[1]):
        arrays.rewards[n, agent] = reward
    arrays.targets[n, 0] = parent.quality
    arrays.terminations[n] = parent.done == 1
    if parent.done == 1:
        _write_metrics(parent, episode, sums, arrays.episode_metrics[n])
    _observe(arrays, n)


@inlined
def _first_refused(action: Any) -> int:
    """Position of the first number outside its range, or ACCEPTED."""
    for position in range(_WIDTH):
        # A comparison with NaN is false, so one test covers range and finiteness.
        if not _LOWEST[position] <= action[position] <= _HIGHEST[position]:
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


@inlined
def _write_observations(arrays: Any) -> None:
    """Each agent's columns of row 0, one agent after the other."""
    row, out = arrays.rows[0], arrays.observations
    at = 0
    for agent in range(len(_OWN)):
        for index in range(_SHARED):
            out[at + index] = row[index]
        at += _SHARED
        first, last = _OWN[agent]
        for index in range(first, last):
            out[at + index - first] = row[index]
        at += last - first


@kernel
def observe_single(address: int) -> None:
    """Write the agents' observations of row 0."""
    _write_observations(_arrays_at(address))


@inlined
def _put(part: Any, agent: int, action: Any) -> bool:
    """Copy a box agent's numbers to their place in a joint action; False where they do not fit."""
    if len(part) != _WIDTHS[agent]:
        return False
    for index in range(len(part)):
        action[_STARTS[agent] + index] = part[index]
    return True


@kernel
def step_single(
    address: int, timing: Any, sourcing: Any, fragmentation: Any, decision: int, monitor: Any
) -> Any:
    """Step the running episode of row 0 by its agents' choices: (reward, quality, outcome).

    Where the outcome is REFUSED, a choice was of another length or outside its space
    and nothing has moved.
    """
    arrays = _arrays_at(address)
    action = arrays.actions[0]
    action[_STARTS[_CONTROL]] = decision
    fits = _put(timing, _TIMING, action) and _put(sourcing, _SOURCING, action)
    fits = fits and _put(fragmentation, _FRAGMENTATION, action)
    fits = fits and _put(monitor, _MONITOR, action)
    if not fits or _first_refused(action) != ACCEPTED:
        return 0.0, 0.0, REFUSED
    _step_row(address, 0)
    _write_observations(arrays)
    outcome = ENDED if arrays.terminations[0] else RUNNING
    return float(arrays.rewards[0, 0]), float(arrays.targets[0, 0]), outcome


@cache
def ready_single() -> None:
    """Compile `step_single` for float32 choices and for nothing else.

    Arrays of other types then raise TypeError, where a compilation of a minute would begin.
    """
    part = types.Array(types.float32, 1, "C")
    dispatcher: Any = step_single
    dispatcher.compile((types.int64, part, part, part, types.int64, part))
    dispatcher.disable_compile()

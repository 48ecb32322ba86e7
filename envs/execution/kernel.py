"""One step of many execution episodes: market, reward, observation, in one compiled loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from market.decode import BP, price_in_ticks
from market.kernels import inlined, kernel
from market.random import hash64
from market.worker import work_step
from rewards.execution import TERMS, quality_term, risk_term, shortfall_term
from signals.execution_rows import observe, observe_privileged
from signals.upstream import sample_context

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


@kernel
def row_seeds(seed: np.uint64, num: int) -> Any:
    """A seed per row, uint64 [num]; row n's does not depend on `num`."""
    out = np.empty(num, np.uint64)
    for n in range(num):
        out[n] = hash64(seed, n)
    return out


@inlined
def _observe(market: Any, n: int, context: Any, rules: Any, rows: Any, states: Any) -> None:
    parent, episode = market.parents[n], market.episodes[n]
    state = states[n]
    observe(parent, episode, market.depth[n], context[n], rules[0], state)
    observe_privileged(parent, episode, market.path[n], state)
    row = rows[n]
    for index in range(len(row)):
        row[index] = state[index]


@kernel
def begin_rows(
    market: Any,
    indices: Any,
    path_seeds: Any,
    coefficient: float,
    sharpness: float,
    rules: Any,
    context: Any,
    sums: Any,
    rows: Any,
    states: Any,
) -> None:
    """What a reset leaves to be done once the books are open: context and first observation."""
    for n in indices:
        parent, episode = market.parents[n], market.episodes[n]
        scale = episode.sigma * math.sqrt(parent.horizon)
        move = (market.path[n, parent.horizon] - market.path[n, 0]) / scale
        sample_context(
            path_seeds[n], episode.episode, parent.side, move, coefficient, sharpness, context[n]
        )
        for term in range(sums.shape[1]):
            sums[n, term] = 0.0
        _observe(market, n, context, rules, rows, states)


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
def step_rows(
    market: Any,
    indices: Any,
    actions: Any,
    rules: Any,
    children: Any,
    cancels: Any,
    decisions: Any,
    by_quality: bool,
    context: Any,
    sums: Any,
    rows: Any,
    states: Any,
    rewards: Any,
    targets: Any,
    terminations: Any,
    metrics: Any,
) -> None:
    """Step the episodes in `indices` under joint actions and write everything that follows."""
    for n in indices:
        parent, episode = market.parents[n], market.episodes[n]
        before = parent.shortfall
        work_step(market, n, actions[n], rules[0], children[n], cancels[n], decisions[n])
        sigma = episode.sigma / price_in_ticks(parent, episode) * BP
        share = parent.remaining / parent.quantity
        cost = shortfall_term(before, parent.shortfall)
        risk = risk_term(rules[0].risk_aversion, sigma, share)
        # What a stop abandons stays at risk to the horizon whose price it is charged.
        share = parent.abandoned / parent.quantity
        risk += (parent.horizon - parent.step) * risk_term(rules[0].risk_aversion, sigma, share)
        quality = quality_term(parent.quality, parent.horizon)
        reward = quality if by_quality else cost + risk
        sums[n, _COST] += cost
        sums[n, _RISK] += risk
        sums[n, _SCORE] += quality
        parent.reward_sum += reward
        for agent in range(rewards.shape[1]):
            rewards[n, agent] = reward
        targets[n, 0] = parent.quality
        terminations[n] = parent.done == 1
        if parent.done == 1:
            _write_metrics(parent, episode, sums[n], metrics[n])
        _observe(market, n, context, rules, rows, states)

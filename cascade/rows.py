"""Rows of the layers above execution, from live windows and an account: the environments'.

The kernels write what `envs.strategic` and `envs.tactical` observe, column by column; tests
hold them equal to the bit.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.strategic import StrategicConfig
from configs.tactical import RiskLimitConfig, TacticalConfig
from market.account import allowed_share, breakers
from market.kernels import inlined, kernel
from market.state import size_table
from market.targets import (
    HOLD as NO_MOVE,
)
from market.targets import (
    MOVES,
    NO_SHARE,
    NO_TILT,
    STRATEGIC_RULES,
    TACTICAL_RULES,
    gain_in_ranges,
    may_choose,
    may_share,
    may_tilt,
    may_work,
    strategic_target,
    tactical_target,
)
from market.thin import thin
from market.working import TWAP
from signals.account import write_account
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL

_MINUTE = 60.0
_TEN_BP = 10.0
_CHOICES = 5
_MOST_ROOM, _MOST_RISK = 2.0, 10.0
_LEAST_DISTANCE, _MOST_DISTANCE = -2.0, 4.0
_STRATEGIC_AGENTS, _DIRECTIONAL = len(STRATEGIC.agents), len(STRATEGIC.agents) - 1
_TACTICAL_AGENTS = len(TACTICAL.agents)
_TILT, _SHARE, _STYLE = range(_TACTICAL_AGENTS)
SAID_WIDTH = 7  # three probabilities, confidence, coherence, target, phase

# Why the target of the next bar is flat (`envs.tactical`).
OPEN, STOPPED, TAKEN, OVER = range(4)


def position_limit(config: LayerConfig) -> int:
    """Units of a full position, by the usual volume of a layer's bar."""
    flow = thin(config.market.flow, config.thinning)
    sizes = size_table(flow.mean_size, flow.size_dispersion)
    volume = flow.arrivals.messages_per_second * flow.market_share * float(np.mean(sizes))
    volume *= config.bar_minutes * _MINUTE
    return max(round(config.account.limit_participation * volume), 1)


def strategic_rules(config: StrategicConfig) -> NDArray[Any]:
    """STRATEGIC_RULES [1]."""
    out = np.zeros(1, STRATEGIC_RULES)
    out["step"] = config.decision.step
    out["small_step"] = config.decision.small_step
    return out


def tactical_rules(config: TacticalConfig) -> NDArray[Any]:
    """TACTICAL_RULES [1]."""
    out = np.zeros(1, TACTICAL_RULES)
    for name in TACTICAL_RULES.names or ():
        out[name] = getattr(config.tilt, name)
    return out


def account_breakers(config: LayerConfig) -> NDArray[Any]:
    """BREAKERS [1]."""
    out: NDArray[Any] = breakers(config.account)
    return out


def risk_scale(config: RiskLimitConfig) -> float:
    """Risk use per sigma of a day's result over equity, the larger of both limits'."""
    quantile = NormalDist().inv_cdf
    return max(quantile(0.95) / config.var95_limit, quantile(0.99) / config.var99_limit)


@kernel
def allowed_at(account: Any, limits: Any, last: bool) -> float:
    """Share of the limit that may be held after the next bar: none once it is the last."""
    return 0.0 if last else allowed_share(account[0], limits[0])


@kernel
def write_strategic(
    windows: Any, account: Any, limits: Any, last: bool, left: float, sharpe: Any, choices: Any,
    out: Any,
) -> None:  # fmt: skip
    """Write a row of `signals.strategic`.

    Args:
        windows: float32, both matrices' windows flat, one after the other.
        account, limits: ACCOUNT [1] and BREAKERS [1].
        last: whether the next bar is the episode's last; left: share of its bars left.
        sharpe: [2], moving averages of the result and of its square.
        choices: [agents], of the last decision; -1 before the first.
    """
    at = len(windows)
    out[:at] = windows
    allowed = 0.0 if last else allowed_share(account[0], limits[0])
    at = write_account(account[0], limits[0].halt, allowed, left, out, at)
    mean = sharpe[0]
    variance = max(sharpe[1] - mean * mean, 0.0)
    out[at] = min(max(mean / _TEN_BP, -_TEN_BP), _TEN_BP)
    out[at + 1] = min(variance**0.5 / _TEN_BP, _TEN_BP)
    at += 2
    for agent in range(_STRATEGIC_AGENTS):
        for choice in range(_CHOICES):
            out[at] = 1.0 if choices[agent] == choice else 0.0
            at += 1
    position = account[0].position / account[0].limit
    for choice in range(MOVES):
        out[at] = 1.0 if may_choose(choice, position, allowed) else 0.0
        at += 1


@kernel
def take_strategic(
    action: Any, account: Any, limits: Any, last: bool, rules: Any, choices: Any
) -> float:
    """The strategic target, share of the limit; what is not allowed is HOLD in `choices`."""
    allowed = 0.0 if last else allowed_share(account[0], limits[0])
    position = account[0].position / account[0].limit
    for agent in range(_STRATEGIC_AGENTS):
        choices[agent] = action[agent]
        if agent < _DIRECTIONAL and not may_choose(int(action[agent]), position, allowed):
            choices[agent] = NO_MOVE
    return float(strategic_target(choices, position, rules[0], allowed))


@inlined
def _closing(account: Any, allowed: float, range_: float, rules: Any) -> int:
    """Why the target of the next bar is flat, or OPEN where it is not."""
    if allowed <= 0.0:
        return OVER
    gain = gain_in_ranges(account.position, account.entry, account.mark, range_)
    if gain <= -rules.stop_atr:
        return STOPPED
    return TAKEN if gain >= rules.target_atr else OPEN


@inlined
def _allows(agent: int, choice: int, closing: int, bound: bool) -> bool:
    if agent == _TILT:
        return bool(may_tilt(choice, closing != OPEN))
    if agent == _SHARE:
        return bool(may_share(choice, closing != OPEN))
    return bool(may_work(choice, bound))


@inlined
def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@kernel
def write_tactical(
    window: Any, account: Any, limits: Any, last: bool, left: float, said: Any, range_: float,
    use: float, rules: Any, choices: Any, out: Any,
) -> None:  # fmt: skip
    """Write a row of `signals.tactical`.

    Args:
        window: float32, the matrix's window flat.
        said: [SAID_WIDTH], of the strategic layer.
        range_: average true range at the last close, ticks.
        use: VaR of the position over its limit.
        rules: TACTICAL_RULES [1].
    """
    at = len(window)
    out[:at] = window
    held, rule = account[0], rules[0]
    allowed = 0.0 if last else allowed_share(held, limits[0])
    at = write_account(held, limits[0].halt, allowed, left, out, at)
    for column in range(SAID_WIDTH):
        out[at + column] = said[column]
    at += SAID_WIDTH
    target = said[SAID_WIDTH - 2]
    gain = gain_in_ranges(held.position, held.entry, held.mark, range_)
    out[at] = _clipped(rule.kelly_cap - target, 0.0, _MOST_ROOM)
    out[at + 1] = _clipped(rule.kelly_cap + target, 0.0, _MOST_ROOM)
    out[at + 2] = _clipped(1.0 + gain / rule.stop_atr, _LEAST_DISTANCE, _MOST_DISTANCE)
    out[at + 3] = _clipped(1.0 - gain / rule.target_atr, _LEAST_DISTANCE, _MOST_DISTANCE)
    out[at + 4] = min(use, _MOST_RISK)
    at += 5
    for agent in range(_TACTICAL_AGENTS):
        for choice in range(_CHOICES):
            out[at] = 1.0 if choices[agent] == choice else 0.0
            at += 1
    closing = _closing(held, allowed, range_, rule)
    bound = closing != OPEN or abs(held.position) > round(allowed * held.limit)
    for agent in range(_TACTICAL_AGENTS):
        for choice in range(_CHOICES):
            out[at] = 1.0 if _allows(agent, choice, closing, bound) else 0.0
            at += 1


@kernel
def take_tactical(
    action: Any, account: Any, limits: Any, last: bool, target: float, range_: float, rules: Any,
    choices: Any,
) -> tuple[float, int]:  # fmt: skip
    """(target, share of the limit; why it is flat): what is not allowed does nothing in
    `choices`, as in `envs.tactical`. Args: see `write_tactical`; target: the strategic one."""
    held, rule = account[0], rules[0]
    allowed = 0.0 if last else allowed_share(held, limits[0])
    closing = _closing(held, allowed, range_, rule)
    bound = closing != OPEN or abs(held.position) > round(allowed * held.limit)
    for agent in range(_TACTICAL_AGENTS):
        choices[agent] = action[agent]
        if not _allows(agent, int(action[agent]), closing, bound):
            choices[agent] = NO_TILT if agent == _TILT else NO_SHARE if agent == _SHARE else TWAP
    if closing != OPEN:
        return 0.0, closing
    tilt, share = int(choices[_TILT]), int(choices[_SHARE])
    return tactical_target(tilt, share, target, rule, allowed), closing


def risk_use(account: NDArray[Any], sigma: float, scale: float, day_bars: float) -> float:
    """VaR of the position over its limit, SPEC section 7's u.

    Args:
        sigma: of the next bar, ticks.
        scale: `risk_scale`.
    """
    held = account[0]
    day = sigma * math.sqrt(day_bars)
    return float(scale * abs(int(held["position"])) * day / max(float(held["equity"]), 1.0))

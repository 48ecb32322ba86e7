"""What one execution decision reads, from a book state or from the simulator.

The records are the market's own, so that the observation and decoding kernels
that environments run are the ones that run here.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.book_state import BookState, Probabilities, RestingState, UpstreamState
from configs.errors import RequestError, nearest
from configs.execution import ExecutionConfig
from configs.market import VENUE_COUNT, GeneratorReference
from market.decode import BP, execution_rules
from market.kernels import kernel
from market.simulator import Simulator
from market.sources import GeneratorSource
from market.state import (
    ACTIVE,
    ASK,
    BID,
    EPISODE,
    LEVELS_SEEN,
    OWN_PRICE,
    OWN_QUANTITY,
    OWNED_FIELDS,
    PARENT,
    POSTED_STEP,
    VENUE,
)
from market.view import EMPTY_PRICE, consolidated, quote, quoted_spread
from market.worker import FAST, SLOW, var_use
from signals.execution import CONTEXT, EXECUTION
from signals.execution_rows import observe
from signals.upstream import CONFIDENT, sample_context

ON_TICK = 1e-6  # of a tick, how far a price may lie from a whole one
MAX_TICKS = 1e9  # of a price; of many more a double does not tell ON_TICK
_SIDES = {"BUY": 1, "SELL": -1}


@dataclass(frozen=True)
class ExecutionView:
    """One moment of one parent order, in the market's records.

    Attributes:
        config: whose rules, venues and tick apply.
        parent: PARENT [1].
        episode: EPISODE [1]; hidden fields are not filled from a book state.
        depth: int32 [VENUE_COUNT, 2, LEVELS_SEEN, 2], own orders left out.
        owned: int32 [max_resting, OWNED_FIELDS].
        context: float64 [12], signed by the parent's side.
        rules: RULES [1].
    """

    config: ExecutionConfig
    parent: NDArray[Any]
    episode: NDArray[Any]
    depth: NDArray[np.int32]
    owned: NDArray[np.int32]
    context: NDArray[np.float64]
    rules: NDArray[Any]

    def row(self) -> NDArray[np.float32]:
        """The row that the agents read, float32 [1, row_width]."""
        out = np.zeros((1, EXECUTION.row_width), np.float32)
        _observe(self.parent, self.episode, self.depth, self.context, self.rules, out[0])
        return out

    def price(self, ladder: float) -> float:
        """A ladder price in currency."""
        return float((self.episode["base"][0] + ladder) * self.config.market.tick)

    def quoted(self, ladder: float) -> float:
        """A ladder price as it is quoted: whole ticks, without a float's tail."""
        tick = self.config.market.tick
        return float(f"{round(self.price(ladder) / tick) * tick:.10g}")


@kernel
def _observe(parent: Any, episode: Any, depth: Any, context: Any, rules: Any, out: Any) -> None:
    observe(parent[0], episode[0], depth, context, rules[0], out)


@kernel
def _market_now(depth: Any) -> tuple[float, float]:
    """(spread in ticks, imbalance at the best quotes) of a depth."""
    bids, asks = consolidated(depth, BID, 1), consolidated(depth, ASK, 1)
    imbalance = (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0
    return quoted_spread(depth), imbalance


@kernel
def _quotes(depth: Any) -> tuple[int, int]:
    return quote(depth, BID), quote(depth, ASK)


@kernel
def _var_use(parent: Any, episode: Any, rules: Any) -> float:
    return float(var_use(parent[0], episode[0], rules[0]))


def view_of_simulator(simulator: Simulator, n: int) -> ExecutionView:
    """The moment of episode `n`, and the upstream context that its environment would sample."""
    market, config = simulator.market, simulator.config
    parent, episode = market.parents[n], market.episodes[n]
    upstream = config.upstream
    coefficient = upstream.information_coefficient
    if not isinstance(config.market.reference, GeneratorReference):
        coefficient = 0.0  # on real bars a signal that knows the path would be a leak
    path, horizon = market.path[n], int(parent["horizon"])
    move = (path[horizon] - path[0]) / (episode["sigma"] * math.sqrt(horizon))
    context = np.zeros(len(CONTEXT))
    seed = simulator.path_seeds[n]
    sample_context(
        seed, episode["episode"], parent["side"], move, coefficient, upstream.sharpness, context
    )
    return ExecutionView(
        config=config,
        parent=market.parents[n : n + 1],
        episode=market.episodes[n : n + 1],
        depth=market.depth[n],
        owned=market.owned[n],
        context=context,
        rules=simulator.rules,
    )


def view_of_book(state: BookState, config: ExecutionConfig) -> ExecutionView:
    """The moment that a book state describes, under the rules of `config`.

    Averages of the past start from the configuration's expectation and run over
    `state.recent` as the simulator's do. Prices must lie on the tick.

    Raises:
        RequestError: an unknown venue, a price off the tick or off the ladder, an
            empty book, or no way to know the volatility.
    """
    rules = execution_rules(config)
    ticks = _Ticks(state, config)
    depth = _depth(state, config, ticks)
    if max(_quotes(depth)) == EMPTY_PRICE:
        raise RequestError("book state: no venue quotes anything; give at least one bid or ask")
    episode = _episode(state, config, ticks, depth)
    parent = _parent(state, config, ticks, episode)
    owned = _owned(state, config, ticks, parent, depth)
    _mark(state, ticks, parent, episode, rules)
    context = _context(state.upstream, int(parent["side"][0]))
    return ExecutionView(config, parent, episode, depth, owned, context, rules)


class _Ticks:
    """Currency to ladder ticks, the ladder's middle at the parent's arrival price."""

    def __init__(self, state: BookState, config: ExecutionConfig) -> None:
        self._tick = config.market.tick
        self._ladder = config.market.book.ladder_levels
        arrival = state.parent.arrival / self._tick
        if not 1.0 <= arrival <= MAX_TICKS:
            raise RequestError(
                f"book state parent.arrival: {state.parent.arrival:g} is {arrival:g} ticks of "
                f"{self._tick:g}, expected 1 to {MAX_TICKS:g}; mend it, or set env.market.tick"
            )
        self.base = math.floor(arrival) - self._ladder // 2

    def of(self, price: float) -> float:
        """Ladder ticks of any price, such as a mid; need not be whole."""
        return price / self._tick - self.base

    def whole(self, price: float, where: str) -> int:
        """Ladder ticks of a quoted price."""
        ladder = self.of(price)
        if abs(ladder - round(ladder)) > ON_TICK:
            raise RequestError(
                f"book state {where}: price {price:g} is no multiple of the tick {self._tick:g}"
            )
        if not 0 <= round(ladder) < self._ladder:
            raise RequestError(
                f"book state {where}: price {price:g} lies more than {self._ladder // 2} ticks of "
                f"{self._tick:g} from the arrival price; leave such a level out"
            )
        return round(ladder)


def _depth(state: BookState, config: ExecutionConfig, ticks: _Ticks) -> NDArray[np.int32]:
    depth = np.zeros((VENUE_COUNT, 2, LEVELS_SEEN, 2), np.int32)
    depth[..., 0] = EMPTY_PRICE
    for name, venue in state.venues.items():
        index = _venue(name, config)
        for half, levels in ((BID, venue.bids), (ASK, venue.asks)):
            for level, (price, quantity) in enumerate(levels):
                where = f"venues.{name}.{'asks' if half == ASK else 'bids'}.{level}"
                depth[index, half, level] = ticks.whole(price, where), quantity
    return depth


def _venue(name: str, config: ExecutionConfig) -> int:
    names = [venue.name for venue in config.market.venues]
    if name not in names:
        raise RequestError(f"book state: no venue '{name}'; {nearest(name, names)}")
    return names.index(name)


def _episode(
    state: BookState, config: ExecutionConfig, ticks: _Ticks, depth: NDArray[np.int32]
) -> NDArray[Any]:
    """EPISODE [1] with the averages that a trader keeps of the past."""
    flow, recent = config.market.flow, state.recent
    episode = np.zeros(1, EPISODE)
    expected = (
        flow.arrivals.messages_per_second * flow.market_share * flow.mean_size * config.step_seconds
    )
    volume = state.step_volume if state.step_volume is not None else expected
    spread, imbalance = _market_now(depth)
    bid, ask = _quotes(depth)
    quoted = (bid + ask) / 2 if min(bid, ask) >= 0 else ticks.of(state.parent.arrival)
    mids = [ticks.of(price) for price in recent.mids] or [quoted]
    fast = slow = _prior_variance(state, config, mids)
    mean = mids[0]
    for before, mid in itertools.pairwise(mids):
        fast += FAST * ((mid - before) ** 2 - fast)
        slow += SLOW * ((mid - before) ** 2 - slow)
        mean += FAST * (mid - mean)
    flow_fast = flow_slow = 0.0
    volume_mean = volume
    for bought, sold in zip(recent.buy_volumes, recent.sell_volumes, strict=True):
        flow_fast += FAST * (bought - sold - flow_fast)
        flow_slow += SLOW * (bought - sold - flow_slow)
        volume_mean += SLOW * (bought + sold - volume_mean)
    values = {
        "base": ticks.base,
        "step_volume": volume,
        "last_mid": quoted,
        "mid_mean": mean,
        "variance_fast": fast,
        "variance_slow": slow,
        "flow_fast": flow_fast,
        "flow_slow": flow_slow,
        "volume_mean": volume_mean,
        "spread_mean": spread,
        "imbalance": imbalance,
        "imbalance_last": imbalance,
    }
    for name, value in values.items():
        episode[name] = value
    return episode


def _prior_variance(state: BookState, config: ExecutionConfig, mids: list[float]) -> float:
    """Variance of one step's move, ticks^2, before the recent past is taken in."""
    if state.volatility_bp is not None:
        return (state.volatility_bp / BP * state.parent.arrival / config.market.tick) ** 2
    if isinstance(config.market.reference, GeneratorReference):
        return GeneratorSource(config, config.market.reference).prior_sigma ** 2
    if len(mids) > 1:
        return float(np.mean(np.diff(mids) ** 2))
    raise RequestError(
        "book state: the volatility is unknown; give volatility_bp (of one step) or recent.mids"
    )


def _parent(
    state: BookState, config: ExecutionConfig, ticks: _Ticks, episode: NDArray[Any]
) -> NDArray[Any]:
    """PARENT [1], without what follows from its resting orders and marks."""
    given = state.parent
    horizon = given.horizon_steps or config.parent.horizon_steps
    left = given.steps_left or horizon
    if left > horizon:
        raise RequestError(
            f"book state parent: steps_left {left} exceeds the horizon of {horizon} steps"
        )
    side = _SIDES[given.side]
    paid = given.average_price if given.average_price is not None else given.arrival
    parent = np.zeros(1, PARENT)
    values = {
        "side": side,
        "quantity": given.quantity,
        "remaining": given.quantity - given.filled,
        "horizon": horizon,
        "step": horizon - left,
        "reduces_risk": int(given.reduces_risk),
        "participation": given.quantity / (float(episode["step_volume"][0]) * horizon),
        "arrival": ticks.of(given.arrival),
        "cost": side * (ticks.of(paid) - ticks.of(given.arrival)) * given.filled,
        "filled_passive": given.filled_passive,
        "filled_aggressive": given.filled - given.filled_passive,
        "in_flight": given.in_flight,
        "urgency_correction": given.urgency_correction,
        "carry": given.carry,
    }
    for name, value in values.items():
        parent[name] = value
    return parent


def _owned(
    state: BookState,
    config: ExecutionConfig,
    ticks: _Ticks,
    parent: NDArray[Any],
    depth: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Own resting orders, and their summary in `parent` (as market.own.summarise_resting)."""
    resting = state.parent.resting
    limit = config.child.max_resting
    if len(resting) > limit:
        raise RequestError(
            f"book state parent.resting: {len(resting)} orders, at most {limit} (child.max_resting)"
        )
    owned = np.zeros((limit, OWNED_FIELDS), np.int32)
    side, step = int(parent["side"][0]), int(parent["step"][0])
    best = _quotes(depth)[0 if side > 0 else 1]
    behind: list[tuple[int, RestingState]] = []
    for index, order in enumerate(resting):
        price = ticks.whole(order.price, f"parent.resting.{index}")
        owned[index, ACTIVE] = 1
        owned[index, VENUE] = _venue(order.venue, config)
        owned[index, OWN_PRICE] = price
        owned[index, OWN_QUANTITY] = order.quantity
        owned[index, POSTED_STEP] = step - order.steps_ago
        behind.append((side * (best - price) if best >= 0 else 0, order))
    if behind:
        first = min(behind, key=lambda entry: entry[0])[1]
        parent["resting"] = sum(order.quantity for order in resting)
        parent["resting_orders"] = len(resting)
        parent["resting_at_best"] = sum(order.quantity for ticks_, order in behind if ticks_ <= 0)
        parent["stalest_ticks"] = max(0, *(ticks_ for ticks_, _ in behind))
        parent["oldest_steps"] = max(order.steps_ago for order in resting)
        parent["queue_ahead"] = first.ahead
        parent["queue_own"] = first.quantity
    return owned


def _mark(
    state: BookState,
    ticks: _Ticks,
    parent: NDArray[Any],
    episode: NDArray[Any],
    rules: NDArray[Any],
) -> None:
    """Shortfall so far, VaR, and the quality of a step of which nothing is known."""
    order, past = parent[0], episode[0]
    drift = order["side"] * (past["last_mid"] - order["arrival"]) * order["remaining"]
    price = ticks.base + order["arrival"]
    parent["shortfall"] = (order["cost"] + drift) / order["quantity"] / price * BP
    parent["worst_shortfall"] = max(float(parent["shortfall"][0]), 0.0)
    if order["step"] == 0:
        return  # the simulator's first row carries no step before it either
    risk = min(max(1.0 - _var_use(parent, episode, rules), 0.0), 1.0)
    terms = {"latency": 1.0, "fill": 1.0, "slippage": 0.5, "risk": risk}
    for name, value in terms.items():
        parent[f"quality_{name}"] = value
    quality = sum(float(rules[f"quality_{name}"][0]) * value for name, value in terms.items())
    parent["quality"] = quality
    parent["predicted_quality"] = quality


def _context(upstream: UpstreamState, side: int) -> NDArray[np.float64]:
    """The cascade context in the order of its column table, signed by the parent's side."""
    values: dict[str, float] = {}
    for layer in ("strategic", "tactical"):
        probabilities: Probabilities = getattr(upstream, layer)
        sell, hold, buy = probabilities
        values[f"{layer}_against"], values[f"{layer}_with"] = (
            (sell, buy) if side > 0 else (buy, sell)
        )
        values[f"{layer}_hold"] = hold
        values[f"{layer}_confidence"] = max(probabilities)
        entropy = -sum(p * math.log(p) for p in probabilities if p > 0.0)
        values[f"{layer}_coherence"] = max(0.0, 1.0 - entropy / math.log(len(probabilities)))
    confident = values["strategic_confidence"] >= CONFIDENT
    values["entanglement"] = upstream.entanglement if confident else 0.0
    values["risk_share"] = upstream.risk_share
    return np.array([values[column.name] for column in CONTEXT])

"""Round trips: buying and selling that ends flat, to see whether the market can be pumped.

Trades take from the books by the router and move the reference as any own fill does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from market import book as lob
from market.desk import desk_at, route
from market.impact import add_own_volume
from market.kernels import kernel
from market.own import advance
from market.simulator import Simulator
from market.state import OWN_TAKER
from market.worker import observe_step

# (generator, steps, one step's expected volume) to signed units a step, [steps].
Plan = Callable[[np.random.Generator, int, float], NDArray[np.int64]]


@kernel
def _take(market: Any, n: int, signed: int) -> tuple[int, int]:
    """Take `signed` units by the router. Returns (units bought or sold, ticks paid for them)."""
    flow, desk = market.flow[0], desk_at(market, n)
    side = lob.BUY if signed > 0 else lob.SELL
    limit = flow.ladder - 1 if side == lob.BUY else 0
    market.tape_count[n] = 0
    route(desk, flow, side, limit, abs(signed), OWN_TAKER)
    taken, paid = 0, 0
    for number in range(market.tape_count[n]):
        row = market.tape[n, number]
        taken += side * row[lob.TRADE_QUANTITY]
        paid += side * row[lob.TRADE_QUANTITY] * row[lob.TRADE_PRICE]
        add_own_volume(desk, float(side * row[lob.TRADE_QUANTITY]))
    return taken, paid


@kernel
def _travel(market: Any, orders: Any, profit: Any) -> None:
    """Every episode's trip: `orders` [N, steps] units, profit [N] in ticks times units."""
    flow = market.flow[0]
    steps = orders.shape[1]
    for n in range(orders.shape[0]):
        desk = desk_at(market, n)
        position, cash = 0, 0
        for step in range(steps):
            wanted = orders[n, step] if step < steps - 1 else -position
            taken, paid = _take(market, n, wanted)
            position += taken
            cash -= paid
            market.tape_count[n] = 0
            advance(desk, flow, (step + 1) * flow.step_seconds)
            observe_step(market, n)
        # What the books could not take back is worth the mid.
        profit[n] = cash + position * market.episodes[n].last_mid


def round_trips(
    config: ExecutionConfig, plan: Plan, trips: int, seed: int = 0
) -> NDArray[np.float64]:
    """Profit of each trip, fees left out, in ticks per unit bought, [trips].

    The last step of a plan is replaced by closing what is open.

    Raises:
        SimulatorError, ConfigError, DataError: as `Simulator` does.
    """
    simulator = Simulator(config, trips)
    simulator.reset(np.arange(trips), np.arange(trips, dtype=np.uint64) + np.uint64(seed * trips))
    rng = np.random.default_rng(seed)
    steps = config.parent.horizon_steps
    volumes = simulator.market.episodes["step_volume"]
    orders = np.stack([plan(rng, steps, float(volume)) for volume in volumes])
    profit = np.zeros(trips)
    _travel(simulator.market, orders, profit)
    return profit / np.maximum(np.maximum(orders, 0).sum(axis=1), 1)


def random_trip(rng: np.random.Generator, steps: int, volume: float) -> NDArray[np.int64]:
    """Buys and sells at random, about a tenth of the volume."""
    return np.rint(rng.normal(0.0, 0.1 * volume, steps)).astype(np.int64)


def pump_and_dump(rng: np.random.Generator, steps: int, volume: float) -> NDArray[np.int64]:
    """Buys fast, sells what it has bought slowly; or the other way about, or mirrored."""
    fast = np.zeros(steps)
    first = steps // 10
    fast[:first] = volume
    fast[2 * first :] = -volume * first / (steps - 2 * first)
    if rng.random() < 0.5:
        fast = -fast[::-1]
    return np.rint(fast if rng.random() < 0.5 else -fast).astype(np.int64)

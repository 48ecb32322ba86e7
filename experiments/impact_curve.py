"""What own trading does to the price: the impact curve, and round trips that try to profit from it.

Impact is half the distance between the mids to which a buyer and a seller of the same
quantity bring the same path on the same random numbers, so that the path itself
cancels. The square-root law says sigma sqrt(Q / V) (Toth et al., "Anomalous price
impact and the critical nature of liquidity", 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from envs.execution import make_batched
from market.desk import desk_at, route
from market.impact import add_own_volume
from market.kernels import kernel
from market.own import advance
from market.simulator import Simulator
from market.worker import observe_step
from trainers.baselines import ScheduleBaseline

LOW, HIGH, POINTS = 0.001, 0.1, 5  # of volume
PARTICIPATION = 0.1
_BUYS, _SELLS = slice(0, None, 2), slice(1, None, 2)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImpactCurve:
    """Impact (ticks) of parents of `volume`, as a share of one reference volume.

    `per_path` [points, paths] holds the single measurements, for intervals.
    """

    volume: Floats
    impact: Floats
    per_path: Floats

    @property
    def exponent(self) -> float:
        """Of the power law through the points, by least squares on logarithms."""
        slope, _ = np.polyfit(np.log(self.volume), np.log(np.maximum(self.impact, 1e-12)), 1)
        return float(slope)


def fixed_horizon(config: ExecutionConfig, paths: int, seed: int = 0) -> ImpactCurve:
    """Parents of .1% to 10% of the horizon's volume, each worked by TWAP over the horizon."""
    volume = np.geomspace(LOW, HIGH, POINTS)
    horizon = config.parent.horizon_steps
    return _curve(volume, [_displacement(config, horizon, q, paths, seed) for q in volume])


def fixed_participation(config: ExecutionConfig, paths: int, seed: int = 0) -> ImpactCurve:
    """Parents of 10% of the volume that passes meanwhile: .1% to 10% of the longest's volume.

    The longest is worked over ten of the configured horizons.
    """
    longest = 10 * config.parent.horizon_steps
    volume = np.geomspace(LOW, HIGH, POINTS)
    steps = np.maximum(np.rint(longest * volume / PARTICIPATION), 1).astype(int)
    moves = [_displacement(config, int(t), PARTICIPATION, paths, seed) for t in steps]
    return _curve(PARTICIPATION * steps / longest, moves)


def _curve(volume: Floats, moves: list[Floats]) -> ImpactCurve:
    per_path = np.stack(moves)
    return ImpactCurve(volume, per_path.mean(axis=1), per_path)


def _displacement(
    config: ExecutionConfig, horizon: int, participation: float, paths: int, seed: int
) -> Floats:
    """Half the distance between the mids of buyer and seller at the horizon, ticks [paths]."""
    parent = config.parent.model_copy(
        update={
            "horizon_steps": horizon,
            "participation_low": participation,
            "participation_high": participation,
        }
    )
    market = config.market
    if config.market.reference.kind == "generator":
        # The path cancels, so room on the ladder is all that a longer one needs.
        book = market.book.model_copy(update={"ladder_levels": 4 * market.book.ladder_levels})
        market = market.model_copy(update={"book": book})
    env = make_batched(
        2 * paths,
        seed,
        config.model_copy(update={"parent": parent, "market": market}),
        paired_sides=True,
    )
    env.reset(seeds=np.arange(2 * paths, dtype=np.uint64) + np.uint64(2 * seed * paths))
    twap = ScheduleBaseline(env.config, risk_averse=False)
    twap.reset(2 * paths)
    mids = np.zeros(2 * paths)
    for _ in range(horizon):
        env.step(twap.act(env.rows))
        mids = env.simulator.market.episodes["last_mid"].copy()
    return np.asarray(0.5 * (mids[_BUYS] - mids[_SELLS]))


@kernel
def _trade(market: Any, n: int, orders: Any, out: Any) -> None:
    """Take `orders[step]` signed units each step and at last what is open; cash into `out`."""
    flow, desk = market.flow[0], desk_at(market, n)
    cash, position = 0.0, 0
    steps = len(orders)
    for step in range(steps):
        quantity = orders[step] if step < steps - 1 else -position
        side = 1 if quantity > 0 else -1
        market.tape_count[n] = 0
        limit = flow.ladder - 1 if side > 0 else 0
        route(desk, flow, market.venues, side, limit, abs(quantity), -1)
        for number in range(market.tape_count[n]):
            row = market.tape[n, number]
            cash -= side * row[2] * row[3]
            position += side * row[3]
            add_own_volume(desk, float(side * row[3]))
        advance(desk, flow, market.venues, (step + 1) * flow.step_seconds)
        observe_step(market, n)
    out[n] = cash + position * market.episodes[n].last_mid


@kernel
def _trade_all(market: Any, orders: Any, out: Any) -> None:
    for n in range(len(out)):
        _trade(market, n, orders[n], out)


def round_trips(
    config: ExecutionConfig,
    plan: Callable[[np.random.Generator, int, float], NDArray[np.int64]],
    trips: int,
    seed: int = 0,
) -> Floats:
    """Cash in ticks per unit bought, fees left out, of trips that end flat, [trips].

    Args:
        plan: (generator, steps, one step's volume) to signed units a step, [steps]; the
            last step closes what is open.
    """
    simulator = Simulator(config, trips)
    simulator.reset(np.arange(trips), np.arange(trips, dtype=np.uint64) + np.uint64(seed))
    rng = np.random.default_rng(seed)
    volume = simulator.market.episodes["step_volume"]
    horizon = config.parent.horizon_steps
    orders = np.stack([plan(rng, horizon, float(volume[n])) for n in range(trips)])
    out = np.zeros(trips)
    _trade_all(simulator.market, orders, out)
    return out / np.maximum(np.maximum(orders, 0).sum(axis=1), 1)

"""What own trading does to the price: the impact curve of the simulated market.

Impact is half the distance between the mids to which a buyer and a seller of the same
quantity bring the same path on the same random numbers, so that the path itself
cancels. The square-root law says sigma sqrt(Q / V) (Toth et al., "Anomalous price
impact and the critical nature of liquidity", 2011).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from envs.execution import make_batched
from market.facts import ImpactSample
from trainers.baselines import ScheduleBaseline

LOW, HIGH, POINTS = 0.001, 0.1, 5  # of volume
PARTICIPATION = 0.1
_BUYS, _SELLS = slice(0, None, 2), slice(1, None, 2)

Floats = NDArray[np.float64]


def fixed_horizon(config: ExecutionConfig, paths: int, seed: int = 0) -> ImpactSample:
    """Parents of .1% to 10% of the horizon's volume, each worked by TWAP over the horizon."""
    volume = np.geomspace(LOW, HIGH, POINTS)
    horizon = config.parent.horizon_steps
    return _sample(volume, [displacement(config, horizon, q, paths, seed) for q in volume])


def fixed_participation(config: ExecutionConfig, paths: int, seed: int = 0) -> ImpactSample:
    """Parents of 10% of the volume that passes meanwhile: .1% to 10% of the longest's volume.

    The longest is worked over ten of the configured horizons.
    """
    longest = 10 * config.parent.horizon_steps
    volume = np.geomspace(LOW, HIGH, POINTS)
    steps = np.maximum(np.rint(longest * volume / PARTICIPATION), 1).astype(int)
    moves = [displacement(config, int(t), PARTICIPATION, paths, seed) for t in steps]
    return _sample(PARTICIPATION * steps / longest, moves)


def _sample(volume: Floats, moves: list[Floats]) -> ImpactSample:
    """Every path at every volume; weighted so that small orders count as much as large ones."""
    paths = len(moves[0])
    weights = [1.0 / np.mean(move) ** 2 for move in moves]
    return ImpactSample(
        volume=np.repeat(volume, paths),
        impact=np.concatenate(moves),
        weights=np.repeat(weights, paths),
        clusters=np.tile(np.arange(paths), len(volume)),
        unit="ticks",
    )


def displacement(
    config: ExecutionConfig, horizon: int, participation: float, paths: int, seed: int
) -> Floats:
    """Half the distance between the mids of buyer and seller at the horizon, ticks [paths].

    Both trade `participation` of the expected volume evenly over `horizon` steps.
    """
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

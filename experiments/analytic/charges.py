"""What the book takes in `strategic_v0`, measured by trades that a script draws at random.

They tell backward induction what a traded quantity costs, and what part of its own bar's return
an order earns. Bars are those that policies are judged on, chance and flow are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from configs.errors import TrainingError
from configs.splits import Split
from configs.strategic import StrategicConfig
from envs.strategic import BatchedStrategic, make_batched
from market.analytic.foresight import Charges, Foresight
from market.analytic.lattice import NONE, Lattice, lattice_of
from market.analytic.terms import BP

Floats = NDArray[np.float64]
SCRIPT_SEEDS = 1 << 61  # evaluation begins at 1 << 60 and training below it: none meet
LATTICE_UNITS = 300  # of a full position; a third of the smallest step, .05, is 5 of them
AT_ONCE = 256
_HELD = 0.3  # of the script's bars without a trade
# Edges of the quantities that one mean is taken over, shares of the limit: joint choices move
# by sixtieths up to eight; only liquidations are larger.
_EDGES = np.concatenate([(np.arange(0, 9) + 0.5) / 60.0, [0.25, 0.4, 0.6, 0.8, 1.01]])
_LEAST = 20  # trades that make a mean


@dataclass(frozen=True)
class Measured:
    """What the script's trades came to.

    Attributes:
        quantity, cost, error: [K], of each class of quantities: the mean quantity (share of the
            limit), its mean cost (bp of a full position's value), and that one's standard error.
        trades: [K], how many.
        during, during_error: the share of its own bar's return that an order earns.
    """

    quantity: Floats
    cost: Floats
    error: Floats
    trades: NDArray[np.int64]
    during: float
    during_error: float

    @property
    def charges(self) -> Charges:
        zero = np.zeros(1)
        return Charges(np.concatenate([zero, self.quantity]), np.concatenate([zero, self.cost]))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        return {
            name: value.round(6).tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }


def lattice_for(config: StrategicConfig) -> Lattice:
    """The lattice of the environment's joint choices, finer than any of its steps."""
    return lattice_of(AnalyticConfig(limit_units=LATTICE_UNITS, decision=config.decision))


def places_of(positions: Floats) -> NDArray[np.int64]:
    """The lattice's nearest index of positions, shares of the limit."""
    return np.rint(positions * LATTICE_UNITS).astype(np.int64) + LATTICE_UNITS


def measure(config: StrategicConfig, lattice: Lattice, episodes: int, split: Split) -> Measured:
    """Play `episodes` of moves drawn among all that joint choices reach.

    Raises:
        TrainingError: they are too few to tell what a quantity costs.
    """
    found = []
    for first in range(0, episodes, AT_ONCE):
        count = min(AT_ONCE, episodes - first)
        env = make_batched(count, config=config, split=split)
        env.reset(seeds=np.uint64(SCRIPT_SEEDS + first) + np.arange(count, dtype=np.uint64))
        rng = np.random.default_rng(first)
        found += [_trades(env, lattice, rng) for _ in range(config.horizon_bars)]
    moved, cost, earned, own = np.concatenate(found, axis=1)
    classes = np.digitize(np.abs(moved), _EDGES)
    rows = [np.flatnonzero(classes == k) for k in range(1, len(_EDGES))]
    rows = [row for row in rows if len(row) >= _LEAST]
    if len(rows) < 2:
        raise TrainingError(
            f"{episodes} scripted episodes made {np.count_nonzero(moved)} trades, expected "
            f"{_LEAST} of two sizes at least; give more judging.script_episodes"
        )
    during, error = _slope(earned, own)
    return Measured(
        quantity=np.array([np.abs(moved[row]).mean() for row in rows]),
        cost=np.array([cost[row].mean() for row in rows]),
        error=np.array([cost[row].std(ddof=1) / len(row) ** 0.5 for row in rows]),
        trades=np.array([len(row) for row in rows]),
        during=during,
        during_error=error,
    )


def _trades(env: BatchedStrategic, lattice: Lattice, rng: np.random.Generator) -> Floats:
    """One bar of all episodes, [4, N]: quantity, cost, what trading earned, and what a quantity
    held through the whole bar would have earned; money in bp of a full position's value."""
    accounts: Any = env.arrays.accounts
    limit, value = accounts["limit"], accounts["initial"] * env.config.account.leverage
    before, mark = accounts["position"].copy(), accounts["mark"].copy()
    places = places_of(before / limit)
    counts = (lattice.successors[places] != NONE).sum(axis=1)
    slots = rng.integers(0, counts)
    stay = (lattice.successors[places] == places[:, None]).argmax(axis=1)
    slots = np.where(rng.random(len(places)) < _HELD, stay, slots)
    env.step(lattice.choices[places, slots])
    moved = accounts["position"] - before
    whole = BP * moved * (accounts["mark"] - mark) / value
    return np.stack(
        [
            moved / limit,
            BP * accounts["costs"] / value,
            BP * accounts["trading"] / value,
            whole,
        ]
    )


def _slope(y: Floats, x: Floats) -> tuple[float, float]:
    """Least squares through the origin, with a standard error that needs no equal variances."""
    square = float((x * x).sum())
    slope = float((x * y).sum()) / square
    return slope, float(np.sqrt(((x * (y - slope * x)) ** 2).sum()) / square)


def foresight_of(
    config: StrategicConfig, lattice: Lattice, measured: Measured, split: Split
) -> Foresight:
    """The problem that the environment poses on the bars of `split`, what was shown remembered."""
    data = make_batched(1, config=config, split=split).data
    tape = data.tape.tape
    bars = np.arange(data.starts.min() + 1, data.starts.max() + config.horizon_bars)
    close, sigma = tape.ohlc[:, 3], tape.sigma
    shown = (close[bars + 1] - close[bars]) / sigma[bars]
    return Foresight(
        lattice=lattice,
        bars=config.horizon_bars,
        gain=float(BP * (sigma[bars] / close[bars]).mean()),
        deviation=float(np.sqrt((shown * shown).mean())),
        during=measured.during,
        charges=measured.charges,
    )

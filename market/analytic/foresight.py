"""The best policy where each decision is shown the return of the bar after its order's own.

Returns are independent. Decision t moves the position from x to x' by an order worked in bar t,
and is shown b, the return of bar t + 1; a, that of bar t, was shown the decision before. In money
(bp of a full position's value, g a sigma of a bar) the move comes to

    d (x' - x) g a + g x' b - c(|x' - x|),

d being the share of its own bar's return that an order earns and c what the book takes. So the
value of x before decision t, once a is known, is, by backward induction,

    V_t(x, a) = E_b max_x' [d (x' - x) g a + g x' b - c(|x' - x|) + V_{t+1}(x', b)],

x' among what the agents' joint choices reach; the last decision, which nothing is shown, goes
flat. What else of the past there is says nothing, so that no policy of all that was shown does
better. One that forgets a takes d = 0: its state is (x, b) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from market.analytic.lattice import NONE, Lattice
from market.kernels import kernel

Floats = NDArray[np.float64]
_REACH = 5.0  # standard deviations, that the grid goes to either side


@dataclass(frozen=True)
class Charges:
    """What the book takes for a traded quantity, linear between knots and beyond the last.

    Attributes:
        quantity: [K], shares of the limit, rising from 0.
        cost: [K], bp of a full position's value, 0 at 0.
    """

    quantity: Floats
    cost: Floats

    def __post_init__(self) -> None:
        if self.quantity[0] != 0.0 or self.cost[0] != 0.0 or (np.diff(self.quantity) <= 0).any():
            raise ConfigError(
                f"charges at quantities {self.quantity} of {self.cost}: expected quantities that "
                "rise from 0, where the cost is 0"
            )

    def of(self, traded: Floats) -> Floats:
        """The cost of quantities of either sign."""
        size = np.abs(traded)
        slope = (self.cost[-1] - self.cost[-2]) / (self.quantity[-1] - self.quantity[-2])
        beyond = np.maximum(size - self.quantity[-1], 0.0) * slope
        return np.asarray(np.interp(size, self.quantity, self.cost) + beyond)


@dataclass(frozen=True)
class Foresight:
    """The problem.

    Attributes:
        bars: decisions of an episode.
        gain: bp that a full position earns in a bar whose return is 1 as it is shown.
        deviation: of what is shown, normal of mean 0.
        during: d above.
        spacing: of the grid of what is shown, standard deviations. A mean of something with a
            kink errs by up to its square over 12: .1% here.
    """

    lattice: Lattice
    bars: int
    gain: float
    deviation: float
    during: float
    charges: Charges
    spacing: float = 0.125

    @property
    def points(self) -> Floats:
        """The grid of what is shown, G points."""
        sides = round(_REACH / self.spacing)
        return np.linspace(-sides, sides, 2 * sides + 1) * (self.spacing * self.deviation)

    @property
    def weights(self) -> Floats:
        """Their probabilities."""
        density = np.exp(-0.5 * (self.points / self.deviation) ** 2)
        return np.asarray(density / density.sum())

    @property
    def seen(self) -> Floats:
        """The grid of what was shown before: one point where it is of no use."""
        return self.points if self.during != 0.0 else np.zeros(1)

    def paid(self) -> Floats:
        """[P, S], the cost of every move; 0 where there is none."""
        positions, after = self.lattice.positions, self.lattice.successors
        moved = positions[np.maximum(after, 0)] - positions[:, None]
        return np.where(after == NONE, 0.0, self.charges.of(moved))


@dataclass(frozen=True)
class Foreseen:
    """The solution: ahead[t] is V_{t+1}, float32 [bars - 1, P, G or 1]; expected is V_0(0, 0)."""

    problem: Foresight
    ahead: NDArray[np.float32]
    expected: float

    def slots(
        self, bar: int, places: NDArray[np.int64], before: Floats, shown: Floats
    ) -> NDArray[np.int64]:
        """The best successors' slots of N episodes at decision `bar`, not the last.

        Args:
            places: [N], indices of positions.
            before, shown: [N], a and b.
        """
        problem, lattice = self.problem, self.problem.lattice
        after = lattice.successors[places]
        target, held = lattice.positions[after], lattice.positions[places]
        worth = problem.during * problem.gain * (target - held[:, None]) * before[:, None]
        worth += problem.gain * target * shown[:, None] - problem.charges.of(target - held[:, None])
        points = problem.seen
        if len(points) == 1:
            worth += self.ahead[bar][after, 0]
        else:
            place = np.clip((shown - points[0]) / (points[1] - points[0]), 0.0, len(points) - 1.001)
            left = place.astype(np.int64)[:, None]
            share = place[:, None] - left
            values = self.ahead[bar]
            worth += (1.0 - share) * values[after, left] + share * values[after, left + 1]
        return np.asarray(np.where(after == NONE, -np.inf, worth).argmax(axis=1))


@kernel
def _back(
    positions: Any, successors: Any, paid: Any, grids: Any, scales: Any, ahead: Any, value: Any
) -> None:
    """One decision back: value [P, A] of ahead [P, B or 1].

    Args:
        grids: (points [B], weights [B], seen [A]).
        scales: (gain, during).
    """
    points, weights, seen = grids
    gain, during = scales
    known = ahead.shape[1] - 1
    later, moved = np.empty(successors.shape[1]), np.empty(successors.shape[1])
    for before in range(len(positions)):
        count = 0
        while count < successors.shape[1] and successors[before, count] != NONE:
            moved[count] = (
                during * gain * (positions[successors[before, count]] - positions[before])
            )
            count += 1
        value[before, :] = 0.0
        for b in range(len(points)):
            for slot in range(count):
                after = successors[before, slot]
                later[slot] = gain * positions[after] * points[b] - paid[before, slot]
                later[slot] += ahead[after, min(b, known)]
            for a in range(len(seen)):
                best = -np.inf
                for slot in range(count):
                    best = max(best, later[slot] + moved[slot] * seen[a])
                value[before, a] += weights[b] * best


def solve_foresight(problem: Foresight) -> Foreseen:
    """Backward induction from the last decision, which liquidates, to the first."""
    lattice, seen = problem.lattice, problem.seen
    positions, paid = lattice.positions, problem.paid()
    grids, scales = (problem.points, problem.weights, seen), (problem.gain, problem.during)
    ahead = np.empty((problem.bars - 1, len(positions), len(seen)), np.float32)
    closing = -problem.during * problem.gain * positions[:, None] * seen[None, :]
    value = closing - problem.charges.of(positions)[:, None]
    for bar in range(problem.bars - 2, -1, -1):
        ahead[bar] = value
        later, value = value, np.empty_like(value)
        _back(positions, lattice.successors, paid, grids, scales, later, value)
    # Before the first decision nothing was shown.
    return Foreseen(problem, ahead, float(value[lattice.flat, len(seen) // 2]))

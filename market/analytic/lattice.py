"""The lattice of positions and what one joint choice of the agents makes of each.

Positions are whole units up to the limit; a target is rounded to them, as the strategic
environment rounds its own. So every joint choice leads from one unit to another, and the
best policy can be found under exactly the agents' choices, masks and weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.analytic import AnalyticConfig
from market.kernels import inlined, kernel
from market.targets import HOLD, MOVES, STRATEGIC_RULES, may_choose, strategic_target

GATES = 5
_DIRECTIONAL = 3
_AGENTS = 4
NONE = -1  # where a position has fewer successors than the table has columns


@inlined
def next_units(choices: Any, units: int, limit: int, rules: Any, allowed: float) -> int:
    """The position in whole units after a joint choice [4]."""
    return round(strategic_target(choices, units / limit, rules, allowed) * limit)


def decision_rules(config: AnalyticConfig) -> Any:
    """STRATEGIC_RULES [1] of a market."""
    out = np.zeros(1, STRATEGIC_RULES)
    out["step"] = config.decision.step
    out["small_step"] = config.decision.small_step
    return out


@dataclass(frozen=True)
class Lattice:
    """Positions -limit .. limit by index 0 .. 2 limit, and where one decision leads.

    Attributes:
        limit: units of a full position.
        successors: int64 [positions, most], indices reached by some allowed joint choice, in
            rising order; NONE beyond their number.
        choices: float32 [positions, most, 4], a joint choice that leads there.
    """

    limit: int
    successors: NDArray[np.int64]
    choices: NDArray[np.float32]

    @property
    def flat(self) -> int:
        """The index of no position."""
        return self.limit

    @property
    def positions(self) -> NDArray[np.float64]:
        """Positions by index, shares of the limit."""
        return np.arange(-self.limit, self.limit + 1) / self.limit

    def toward(self, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """The reachable index nearest to each wanted position; wanted [..., positions] shares."""
        reach = np.where(self.successors == NONE, -10 * self.limit, self.successors)
        aim = wanted[..., None] * self.limit + self.limit
        slot = np.abs(reach - aim).argmin(axis=-1)
        return np.take_along_axis(
            np.broadcast_to(self.successors, (*aim.shape[:-1], reach.shape[-1])),
            slot[..., None],
            axis=-1,
        )[..., 0]


@kernel
def _every_choice(limit: int, rules: Any, after: Any, choices: Any) -> None:
    """For each position and joint choice: the index it leads to, NONE where a mask forbids it."""
    for index in range(2 * limit + 1):
        units = index - limit
        for joint in range(len(choices)):
            allowed = True
            for agent in range(_DIRECTIONAL):
                allowed &= may_choose(int(choices[joint, agent]), units / limit, 1.0)
            if allowed:
                after[index, joint] = limit + next_units(
                    choices[joint], units, limit, rules[0], 1.0
                )
            else:
                after[index, joint] = NONE


def lattice_of(config: AnalyticConfig) -> Lattice:
    """The lattice of a market, every joint choice tried at every position."""
    limit = config.limit_units
    grid = np.indices((GATES, MOVES, MOVES, MOVES)).reshape(_AGENTS, -1).T
    joint = np.ascontiguousarray(grid[:, [1, 2, 3, 0]], np.float32)
    # HOLD first, so that of several ways to one place the quietest is taken.
    joint = joint[np.argsort((joint[:, :_DIRECTIONAL] != HOLD).sum(axis=1), kind="stable")]
    after = np.empty((2 * limit + 1, len(joint)), np.int64)
    _every_choice(limit, decision_rules(config), after, joint)
    found = [np.unique(row[row != NONE], return_index=False) for row in after]
    most = max(len(places) for places in found)
    successors = np.full((len(after), most), NONE, np.int64)
    choices = np.zeros((len(after), most, _AGENTS), np.float32)
    for index, places in enumerate(found):
        successors[index, : len(places)] = places
        for slot, place in enumerate(places):
            choices[index, slot] = joint[int(np.argmax(after[index] == place))]
    return Lattice(limit, successors, choices)


def free_lattice(limit: int) -> Lattice:
    """A lattice on which any position may follow any other, to compare with closed forms."""
    size = 2 * limit + 1
    successors = np.tile(np.arange(size), (size, 1))
    return Lattice(limit, successors, np.zeros((size, size, _AGENTS), np.float32))

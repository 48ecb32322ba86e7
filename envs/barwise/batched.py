"""N episodes of a layer above execution behind the `BatchedEnv` protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError, SimulatorError
from envs.barwise.kernels import ACCEPTED
from market.kernels import kernel
from market.pinned import Pinned
from market.random import hash64
from market.restore import market_arrays, restore_arrays
from market.state import STATE_FIELDS
from signals.layout import LayerLayout


@kernel
def row_seeds(seed: np.uint64, num: int) -> Any:
    """A seed per row, uint64 [num]; row n's does not depend on `num`."""
    out = np.empty(num, np.uint64)
    for n in range(num):
        out[n] = hash64(seed, n)
    return out


class BatchedBars:
    """See `envs.batched.BatchedEnv`. A row that has ended waits for its reset.

    Args:
        layout: the layer's.
        metric_names: of `episode_metrics`.
        pinned: the step arrays: a NamedTuple with `world`, `seeds`, `episodes`, `actions`,
            `rows`, `states`, `rewards`, `targets`, `terminations`, `terms`,
            `episode_metrics` and whatever else a step keeps.
        constant: names of its arrays that no step writes.
        begin_rows: kernel (address, indices).
        step_rows: kernel (address) -> position of the first refused number, or ACCEPTED.
        term_names: of `terms`.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
    """

    def __init__(
        self,
        layout: LayerLayout,
        metric_names: tuple[str, ...],
        pinned: Pinned,
        constant: frozenset[str],
        begin_rows: Callable[[int, NDArray[np.int64]], None],
        step_rows: Callable[[int], int],
        term_names: tuple[str, ...],
        seed: int,
    ) -> None:
        arrays = pinned.arguments
        self.layout = layout
        self.metric_names = metric_names
        self.reward_term_names = term_names
        self.num_envs = len(arrays.terminations)
        self._pinned, self._constant = pinned, constant
        self._begin_rows, self._step_rows = begin_rows, step_rows
        self.rows: NDArray[np.float32] = arrays.rows
        self.states: NDArray[np.float32] = arrays.states
        self.rewards: NDArray[np.float32] = arrays.rewards
        self.reward_terms: NDArray[np.float64] = arrays.terms
        self.terminations: NDArray[np.bool_] = arrays.terminations
        self.truncations = np.zeros(self.num_envs, np.bool_)
        self.targets: NDArray[np.float32] = arrays.targets
        self.episode_metrics: NDArray[np.float64] = arrays.episode_metrics
        self._initial_seeds = row_seeds(np.uint64(seed), self.num_envs)
        self._seeded = np.zeros(1, np.bool_)

    @property
    def arrays(self) -> Any:
        """What a step reads and writes."""
        return self._pinned.arguments

    @property
    def clusters(self) -> NDArray[np.int64]:
        """See `BatchedEnv.clusters`: the day on which each episode began."""
        return np.asarray(self.arrays.world.market.episodes["cluster"].copy())

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        """See `BatchedEnv.reset`.

        The first reset without seeds begins every row at episode 0 of its initial seed.
        """
        arrays = self.arrays
        indices = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        if seeds is None and not self._seeded[0]:
            indices, seeds = np.arange(self.num_envs), self._initial_seeds
        self._seeded[0] = True
        if seeds is None:
            arrays.episodes[indices] += 1
        else:
            arrays.seeds[indices] = seeds[indices]
            arrays.episodes[indices] = 0
        self._begin_rows(self._pinned.address, indices)

    def begin_at(self, bars: NDArray[np.int64], seeds: NDArray[np.uint64]) -> None:
        """Begin episode 0 of `seeds` [N] in each row at the close of its bar of `bars` [N].

        Whoever asks vouches for the bars: windows must be whole there and at every bar that
        the episodes play.
        """
        arrays = self.arrays
        self._seeded[0] = True
        arrays.seeds[:] = seeds
        arrays.episodes[:] = 0
        given = arrays.starts.copy()
        for n, bar in enumerate(bars):
            arrays.starts[:] = bar  # whichever start is drawn, it is this one
            self._begin_rows(self._pinned.address, np.array([n]))
        arrays.starts[:] = given

    def step(self, actions: NDArray[np.float32]) -> None:
        """See `BatchedEnv.step`.

        Raises:
            ActionError: an action of a running row is no choice.
        """
        given = self.arrays.actions
        if actions.shape != given.shape:
            raise ActionError(f"joint actions have shape {actions.shape}, expected {given.shape}")
        given[...] = actions
        refused = self._step_rows(self._pinned.address)
        if refused != ACCEPTED:
            raise self._refusal(*divmod(refused, self.layout.action_width))

    def _refusal(self, row: int, position: int) -> ActionError:
        slices = (self.layout.action_slice(index) for index in range(len(self.layout.agents)))
        number = next(i for i, part in enumerate(slices) if part.start <= position < part.stop)
        agent = self.layout.agents[number]
        names = ", ".join(component.name for component in agent.components)
        return ActionError(
            f"{agent.name} chose {self.arrays.actions[row, position]} in environment {row}: "
            f"expected a whole number from 0 to {len(agent.components) - 1} ({names})"
        )

    def _state(self) -> dict[str, Any]:
        """Every array that the next step depends on, by name."""
        arrays = self.arrays
        world = arrays.world
        found = {
            name: value
            for name, value in arrays._asdict().items()
            if isinstance(value, np.ndarray) and name not in self._constant
        }
        # Under names of their own: both have `episodes`.
        market = market_arrays(world.market, STATE_FIELDS)
        found |= {f"market_{name}": array for name, array in market.items()}
        return found | {
            "places": world.places,
            "worked": world.worked,
            "truncations": self.truncations,
            "seeded": self._seeded,
        }

    def state_dict(self) -> dict[str, Any]:
        """See `BatchedEnv.state_dict`."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `BatchedEnv.load_state`.

        Raises:
            SimulatorError: the state is of another configuration or number of episodes.
        """
        if not isinstance(state, dict):
            raise SimulatorError(
                f"environment state is {type(state).__name__}; give what state_dict() returned"
            )
        restore_arrays(self._state(), state, "environment")

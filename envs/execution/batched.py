"""N execution episodes behind the `BatchedEnv` protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError, SimulatorError
from configs.execution import ExecutionConfig
from configs.loading import load_config
from envs.execution.kernel import METRICS, begin_rows, row_seeds, step_rows
from market.simulator import Simulator
from market.sources import Split
from rewards.execution import TERMS
from signals.execution import CONTEXT, EXECUTION
from signals.layout import LayerLayout

# Where the rows of the batch stand, beyond what the simulator carries itself.
_STATE_FIELDS = (
    "rows", "states", "rewards", "terminations", "truncations", "targets", "episode_metrics",
    "context", "term_sums",
)  # fmt: skip


def action_bounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest joint action, float32 [action width] each."""
    low = np.zeros(EXECUTION.action_width, np.float32)
    high = np.ones(EXECUTION.action_width, np.float32)
    for index, agent in enumerate(EXECUTION.agents):
        if agent.kind == "discrete":
            high[EXECUTION.action_slice(index)] = len(agent.components) - 1
    return low, high


class BatchedExecution:
    """See `envs.batched.BatchedEnv`. A row that has ended waits for its reset.

    Args:
        config: the environment; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
        split: "train" or "test" part of real bars.
        paired_sides: seeds 2k and 2k + 1 are the two sides of one path.
    """

    layout: LayerLayout = EXECUTION
    metric_names: tuple[str, ...] = METRICS

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        num_envs: int = 1,
        seed: int = 0,
        split: Split = "train",
        paired_sides: bool = False,
    ) -> None:
        self.config = config or ExecutionConfig()
        self.num_envs = num_envs
        self.simulator = Simulator(self.config, num_envs, split, paired_sides)
        agents = len(EXECUTION.agents)
        self.rows = np.zeros((num_envs, EXECUTION.row_width), np.float32)
        self.states = np.zeros((num_envs, EXECUTION.state_width), np.float32)
        self.rewards = np.zeros((num_envs, agents), np.float32)
        self.terminations = np.ones(num_envs, np.bool_)
        self.truncations = np.zeros(num_envs, np.bool_)
        self.targets = np.zeros((num_envs, 1), np.float32)
        self.episode_metrics = np.zeros((num_envs, len(METRICS)))
        self.context = np.zeros((num_envs, len(CONTEXT)))
        self.term_sums = np.zeros((num_envs, len(TERMS)))
        self._low, self._high = action_bounds()
        self._initial_seeds = row_seeds(np.uint64(seed), num_envs)
        self._seeded = False

    @property
    def data_fingerprint(self) -> str:
        """What the reference paths come from: a hash of the bars, or the generator's name."""
        return self.simulator.source.fingerprint

    @property
    def clusters(self) -> NDArray[np.int64]:
        """int64 [N]: equal where episodes share a path, or a day of the same bars."""
        return self.simulator.market.episodes["cluster"].copy()

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        """See `BatchedEnv.reset`."""
        if not self._seeded:
            # Rows that this first call leaves out still get their own seed.
            everyone = np.arange(self.num_envs)
            self._seeded = True
            self.simulator.reset(everyone, self._initial_seeds if seeds is None else seeds)
            if seeds is None:
                self._begin(everyone)
                return
        indices = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self.simulator.reset(indices, seeds)
        self._begin(indices)

    def _begin(self, indices: NDArray[np.int64]) -> None:
        upstream = self.config.upstream
        begin_rows(
            self.simulator.market,
            indices,
            self.simulator.path_seeds,
            self._information_coefficient(),
            upstream.sharpness,
            self.simulator.rules,
            self.context,
            self.term_sums,
            self.rows,
            self.states,
        )
        self.rewards[indices] = 0.0
        self.targets[indices] = 0.0
        self.terminations[indices] = False

    def _information_coefficient(self) -> float:
        # On real bars a signal that knows the path would be a leak from the future.
        if self.config.market.reference.kind == "bars":
            return 0.0
        return self.config.upstream.information_coefficient

    def step(self, actions: NDArray[np.float32]) -> None:
        """See `BatchedEnv.step`.

        Raises:
            ActionError: an action of a running row is not finite or outside its space.
        """
        indices = np.flatnonzero(~self.terminations)
        self._check(actions, indices)
        simulator = self.simulator
        step_rows(
            simulator.market,
            indices,
            actions,
            simulator.rules,
            simulator.children,
            simulator.cancels,
            simulator.decisions,
            self.config.reward.objective == "documents",
            self.context,
            self.term_sums,
            self.rows,
            self.states,
            self.rewards,
            self.targets,
            self.terminations,
            self.episode_metrics,
        )

    def _check(self, actions: NDArray[np.float32], indices: NDArray[np.int64]) -> None:
        shape = (self.num_envs, EXECUTION.action_width)
        if actions.shape != shape:
            raise ActionError(f"joint actions have shape {actions.shape}, expected {shape}")
        given = actions[indices]
        # A comparison with NaN is false, so one test covers range and finiteness.
        good = (given >= self._low) & (given <= self._high)
        if good.all():
            return
        row, position = (int(i) for i in np.argwhere(~good)[0])
        agent = next(
            i
            for i in range(len(EXECUTION.agents))
            if EXECUTION.action_slice(i).start <= position < EXECUTION.action_slice(i).stop
        )
        layout = EXECUTION.agents[agent]
        part = layout.components[position - EXECUTION.action_slice(agent).start].name
        where = part if layout.kind == "box" else "choice"
        raise ActionError(
            f"{layout.name}.{where} is {given[row, position]} in environment {indices[row]}: "
            f"expected a number from {self._low[position]:g} to {self._high[position]:g}"
        )

    def state_dict(self) -> dict[str, Any]:
        """See `BatchedEnv.state_dict`."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in _STATE_FIELDS}
        state["simulator"] = self.simulator.state_dict()
        state["seeded"] = self._seeded
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """See `BatchedEnv.load_state`.

        Raises:
            SimulatorError: the state is of another configuration or number of episodes.
        """
        for name in ("simulator", "seeded"):
            if name not in state:
                raise SimulatorError(
                    f"environment state: '{name}' is missing; give what state_dict() returned"
                )
        for name in _STATE_FIELDS:
            given, own = state.get(name), getattr(self, name)
            kind = (given.dtype, given.shape) if isinstance(given, np.ndarray) else type(given)
            if kind != (own.dtype, own.shape):
                raise SimulatorError(
                    f"environment state: '{name}' is {kind}, expected {(own.dtype, own.shape)}; "
                    "restore into an environment of the same configuration"
                )
        self.simulator.load_state(state["simulator"])
        for name in _STATE_FIELDS:
            getattr(self, name)[...] = state[name]
        self._seeded = bool(state["seeded"])


def make_batched(
    num_envs: int,
    seed: int = 0,
    config: ExecutionConfig | dict[str, Any] | None = None,
    split: Split = "train",
    paired_sides: bool = False,
) -> BatchedExecution:
    """Make N execution episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `ExecutionConfig`.
    """
    if isinstance(config, dict):
        config = load_config(ExecutionConfig, config)
    return BatchedExecution(config, num_envs, seed, split, paired_sides)

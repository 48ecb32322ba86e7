"""N execution episodes behind the `BatchedEnv` protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ActionError, ConfigError, SimulatorError
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.splits import Split
from envs.execution.kernel import (
    ACCEPTED,
    METRICS,
    action_bounds,
    begin_rows,
    pin_step_arrays,
    row_seeds,
    step_arrays,
    step_rows,
)
from market.bar_tape import BarTape
from market.given_bars import GivenBarSource
from market.pinned import Pinned
from market.simulator import Simulator
from signals.execution import CONTEXT, EXECUTION
from signals.layout import LayerLayout

# Where the rows of the batch stand, beyond what the simulator carries itself.
_STATE_FIELDS = (
    "rows", "states", "rewards", "terminations", "truncations", "targets", "episode_metrics",
    "context", "term_sums",
)  # fmt: skip


_NOTHING_SAID = np.zeros((0, len(CONTEXT)))
_NOTHING_SAID.flags.writeable = False


@dataclass(frozen=True)
class BarsAbove:
    """Bars that artefacts of the layers above decide on; an episode plays inside one of them.

    Attributes:
        tape: all bars.
        chosen: int64 [m], the bars of a split that both layers have decided about.
        said: float64 [m, context width], read-only: what they said at the close before each,
            in the order of the cascade context but SELL, HOLD, BUY where that has against,
            hold, with.
        fingerprint: of the bars.
    """

    tape: BarTape
    chosen: NDArray[np.int64]
    said: NDArray[np.float64]
    fingerprint: str


def _check_above(config: ExecutionConfig, above: BarsAbove | None) -> None:
    if config.upstream.loaded == (above is not None):
        return
    told = f"upstream.strategic={config.upstream.strategic} and tactical={config.upstream.tactical}"
    if above is not None:
        raise ConfigError(
            f"{told}, and bars that artefacts decide on: expected the artefacts' folders in the "
            "configuration; name them there, or leave the bars out"
        )
    raise ConfigError(
        f"{told}: expected the bars that they decide on; make the environment by "
        "trainers.upstream:make_execution, which loads the artefacts, or give "
        "trainers.upstream:bars_above of this configuration as `above`"
    )


class BatchedExecution:
    """See `envs.batched.BatchedEnv`. A row that has ended waits for its reset.

    Args:
        config: the environment; its defaults where None.
        num_envs: N.
        seed: row n plays the seed hash(seed, n), which does not depend on N.
        split: "train", "validation" or "test" part of real bars.
        paired_sides: seeds 2k and 2k + 1 are the two sides of one path.
        above: the bars that the configuration's artefacts decide on, and what they say;
            `trainers.upstream` computes it. None where the layers above are sampled.

    Raises:
        ConfigError: artefacts are configured and `above` is not given, or the other way about.
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
        above: BarsAbove | None = None,
    ) -> None:
        self.config = config or ExecutionConfig()
        self.num_envs = num_envs
        _check_above(self.config, above)
        source, self._said = None, _NOTHING_SAID
        self._drawn: NDArray[np.int64] = np.zeros(num_envs, np.int64)
        if above is not None:
            source = GivenBarSource(
                self.config, above.tape, above.chosen, above.fingerprint, num_envs
            )
            self._said, self._drawn = above.said, source.drawn
        self.simulator = Simulator(self.config, num_envs, split, paired_sides, source)
        self._pinned = pin_step_arrays(step_arrays(self.simulator))
        arrays = self._pinned.arguments
        self.rows: NDArray[np.float32] = arrays.rows
        self.states: NDArray[np.float32] = arrays.states
        self.rewards: NDArray[np.float32] = arrays.rewards
        self.terminations: NDArray[np.bool_] = arrays.terminations
        self.truncations = np.zeros(num_envs, np.bool_)
        self.targets: NDArray[np.float32] = arrays.targets
        self.episode_metrics: NDArray[np.float64] = arrays.episode_metrics
        self.context: NDArray[np.float64] = arrays.context
        self.term_sums: NDArray[np.float64] = arrays.term_sums
        self._actions: NDArray[np.float32] = arrays.actions
        self._initial_seeds = row_seeds(np.uint64(seed), num_envs)
        self._seeded = False

    @property
    def pinned(self) -> Pinned:
        """The `StepArrays` that kernels step, and their address."""
        return self._pinned

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
        begin_rows(
            self._pinned.address,
            indices,
            self.simulator.path_seeds,
            self._information_coefficient(),
            self.config.upstream.sharpness,
            self._said,
            self._drawn,
        )

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
        if actions.shape != self._actions.shape:
            raise ActionError(
                f"joint actions have shape {actions.shape}, expected {self._actions.shape}"
            )
        self._actions[...] = actions
        refused = step_rows(self._pinned.address)
        if refused != ACCEPTED:
            raise self.refusal(*divmod(refused, EXECUTION.action_width))

    def refusal(self, row: int, position: int) -> ActionError:
        """What is wrong with a number of the joint actions that were to be taken."""
        agent = next(
            i
            for i in range(len(EXECUTION.agents))
            if EXECUTION.action_slice(i).start <= position < EXECUTION.action_slice(i).stop
        )
        layout = EXECUTION.agents[agent]
        part = layout.components[position - EXECUTION.action_slice(agent).start].name
        where = part if layout.kind == "box" else "choice"
        low, high = (float(bound[position]) for bound in action_bounds())
        return ActionError(
            f"{layout.name}.{where} is {self._actions[row, position]} in environment {row}: "
            f"expected a number from {low:g} to {high:g}"
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
    above: BarsAbove | None = None,
) -> BatchedExecution:
    """Make N execution episodes; `config` may be plain data, as it travels to workers.

    Raises:
        ConfigError: plain data that is no `ExecutionConfig`; or see `BatchedExecution`.
    """
    if isinstance(config, dict):
        config = load_config(ExecutionConfig, config)
    return BatchedExecution(config, num_envs, seed, split, paired_sides, above)

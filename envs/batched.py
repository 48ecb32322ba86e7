"""The batched face that trainers and evaluators drive: N environments, arrays in place."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from signals.layout import LayerLayout


@runtime_checkable
class BatchedEnv(Protocol):
    """N independent episodes of one layer, stepped together.

    The arrays are owned by the environment and overwritten in place by `reset`
    and `step`; copy what must outlive the next call. Row n belongs to episode n
    and never depends on the other rows or on N.

    Attributes:
        layout: columns, agents and actions of the layer.
        num_envs: N.
        rows: float32 [N, layout.row_width], what the actors read.
        states: float32 [N, layout.state_width], what the critic reads.
        rewards: float32 [N, agents], of the last step.
        terminations: bool [N], the episode has ended and has no further value.
        truncations: bool [N], the episode was cut; the value of `states` stands.
        targets: float32 [N, supervised components], what the supervised action
            components of the last step should have said.
        episode_metrics: float64 [N, len(metric_names)], of the episode that the
            last step ended (rows where it did not are stale).
        clusters: int64 [N], equal where present episodes share what chance drew (a path,
            a day of bars), so that intervals do not count them as independent.
    """

    layout: LayerLayout
    num_envs: int
    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    targets: NDArray[np.float32]
    metric_names: tuple[str, ...]
    episode_metrics: NDArray[np.float64]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """See above."""
        ...

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        """Begin new episodes where `mask` (all by default).

        With `seeds` [N] each masked row starts at episode 0 of its seed; without,
        it goes on to the next episode of the seed it has.
        """
        ...

    def step(self, actions: NDArray[np.float32]) -> None:
        """Apply joint actions [N, layout.action_width]. A row that has ended is left alone."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as arrays."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, to the bit."""
        ...

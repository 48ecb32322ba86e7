"""The batched face of a team: N environments whose agents may come and go, arrays in place."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from signals.team import TeamLayout


@runtime_checkable
class TeamEnv(Protocol):
    """N independent episodes of one team, stepped together.

    The arrays are owned by the environment and overwritten in place by `reset` and `step`;
    copy what must outlive the next call. Row n belongs to episode n and never depends on
    the other rows or on N. A = len(layout.agent_names), columns in that order.

    At the step in which an agent's life ends `alive` is already False, and its part of
    `rows` holds its last observation, so that the value of a truncated agent can be
    taken; from the next step or reset on it is zeros.

    Attributes:
        layout: groups, their agents, columns and actions.
        num_envs: N.
        rows: float32 [N, layout.row_width], observations; zeros for an agent not alive.
        states: float32 [N, layout.state_width], the environment's own state().
        masks: bool [N, layout.mask_width], True where a choice is allowed; all True for
            an agent that is not alive.
        alive: bool [N, A], acts at the next step.
        rewards: float32 [N, A], of the last step; 0 for an agent that did not act.
        terminations: bool [N, A], the agent's life ended in the last step, with no
            further value.
        truncations: bool [N, A], it was cut off in the last step; never both.
        ended: bool [N], no agent is left and the row waits for its reset; `rows` and
            `states` hold the last observations.
        episode_metrics: float64 [N, len(metric_names)], of the episode that the last
            step ended (rows where it did not are stale).
    """

    layout: TeamLayout
    num_envs: int
    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    masks: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    metric_names: tuple[str, ...]
    episode_metrics: NDArray[np.float64]

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
        """Apply joint actions [N, layout.action_width].

        Bounded factors lie in [0, 1], categorical ones are indices, unbounded ones are
        taken as they are; what stands for an agent that is not alive is not read. A row
        that has ended is left alone.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, to the bit."""
        ...

    def close(self) -> None:
        """Let go of what the environments hold."""
        ...

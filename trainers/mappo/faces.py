"""One face for both kinds of batched environment: a layer's, and any team's."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from signals.team import TeamLayout
from trainers.mappo.plan import TeamPlan

BoolArray = NDArray[np.bool_]


class Face(Protocol):
    """What a step says of every agent; see `envs.team.TeamEnv` for the meaning of each.

    alive, terminations, truncations: bool [N, A]; masks: bool [N, mask_width];
    ended: bool [N].
    """

    @property
    def alive(self) -> BoolArray: ...

    @property
    def masks(self) -> BoolArray: ...

    @property
    def terminations(self) -> BoolArray: ...

    @property
    def truncations(self) -> BoolArray: ...

    @property
    def ended(self) -> BoolArray: ...


class LayerFace:
    """A layer, whose agents live and end together and forbid each other nothing."""

    def __init__(self, env: Any, agents: int) -> None:
        self._env = env
        self.alive: BoolArray = np.ones((env.num_envs, agents), dtype=np.bool_)
        self.masks: BoolArray = np.ones((env.num_envs, 0), dtype=np.bool_)

    @property
    def terminations(self) -> BoolArray:
        return np.broadcast_to(self._env.terminations[:, None], self.alive.shape)

    @property
    def truncations(self) -> BoolArray:
        return np.broadcast_to(self._env.truncations[:, None], self.alive.shape)

    @property
    def ended(self) -> BoolArray:
        ended: BoolArray = self._env.terminations | self._env.truncations
        return ended


def face_of(env: Any, plan: TeamPlan) -> Face:
    """What `env` says of its agents: the environment itself where it is a `TeamEnv`."""
    if isinstance(env.layout, TeamLayout):
        face: Face = env
        return face
    return LayerFace(env, len(plan.agents))

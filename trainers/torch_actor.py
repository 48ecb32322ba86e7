"""A torch policy as an actor that evaluation drives, and a recorder of what it read."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.evaluate import Actor


class TorchPolicy(Protocol):
    """The part of `policies.sequential.SequentialPolicy` that acting needs."""

    def act(self, rows: torch.Tensor, noise: torch.Tensor | None) -> Any:
        """Joint decisions with `.actions` float32 [N, action_width]; noise None is the mode."""
        ...


class TorchActor:
    """Acts by a torch policy in mode."""

    def __init__(self, policy: TorchPolicy) -> None:
        self._policy = policy

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes: nothing to do, the policy keeps no state."""
        del num_envs

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Joint mode actions float32 [N, action_width]."""
        with torch.no_grad():
            actions = self._policy.act(torch.from_numpy(rows), None).actions
        return np.ascontiguousarray(actions.numpy())


class RecordingActor:
    """Passes everything to `actor` and keeps the first `limit` rows that it read."""

    def __init__(self, actor: Actor, limit: int) -> None:
        self._actor = actor
        self._limit = limit
        self._kept: list[NDArray[np.float32]] = []
        self._count = 0

    @property
    def rows(self) -> NDArray[np.float32]:
        """The rows kept, float32 [at most limit, row_width]."""
        return np.concatenate(self._kept) if self._kept else np.empty((0, 0), dtype=np.float32)

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes."""
        self._actor.reset(num_envs)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the actor does, and a copy of what it read."""
        room = self._limit - self._count
        if room > 0:
            self._kept.append(rows[:room].copy())
            self._count += min(room, len(rows))
        return self._actor.act(rows)

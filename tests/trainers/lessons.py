"""Teams that can be learnt in seconds, each only by what it is there to try."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from signals.team import Factor, GroupLayout, TeamLayout

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

AGENTS = 2


class Lesson:
    """A `TeamEnv` of two like agents; a lesson says what they see, what pays and who dies.

    Episodes last `horizon` steps, and then all that live are terminated.
    """

    columns = 1
    factors: tuple[Factor, ...] = (Factor("choice", "categorical", 2),)
    masked = False
    horizon = 4
    metric_names: tuple[str, ...] = ()

    def __init__(self, num_envs: int, seed: int) -> None:
        names = tuple(f"x_{k}" for k in range(self.columns))
        agents = tuple(f"agent_{k}" for k in range(AGENTS))
        group = GroupLayout("agents", agents, names, self.factors, self.masked)
        self.layout = TeamLayout(type(self).__name__, (group,))
        self.num_envs = num_envs
        self.rng = np.random.default_rng(seed)
        self.clock = np.zeros(num_envs, np.int64)
        self.rows = np.zeros((num_envs, group.row_width), np.float32)
        self.states = np.zeros((num_envs, 0), np.float32)
        self.masks = np.ones((num_envs, group.mask_width), np.bool_)
        self.rewards = np.zeros((num_envs, AGENTS), np.float32)
        self.alive, self.terminations, self.truncations = np.zeros((3, num_envs, AGENTS), np.bool_)
        self.ended = np.ones(num_envs, np.bool_)
        self.episode_metrics = np.zeros((num_envs, 0))
        self.drawn = np.zeros((num_envs, AGENTS, self.columns), np.float32)

    def draw(self) -> NDArray[Any]:
        """What a step is about, [N, agents, columns]; uniform in [-1, 1)."""
        return self.rng.uniform(-1.0, 1.0, self.drawn.shape)

    def see(self) -> NDArray[Any]:
        """Observations [N, agents, columns]."""
        return self.drawn

    def allow(self) -> Flags:
        """Masks [N, mask_width]."""
        return np.ones_like(self.masks)

    def pay(self, actions: Floats) -> NDArray[Any]:
        """Rewards [N, agents] of actions [N, agents, width]."""
        raise NotImplementedError

    def die(self, actions: Floats) -> Flags:
        """Whose life ends, [N, agents]."""
        return np.zeros((self.num_envs, AGENTS), np.bool_)

    def reset(self, mask: Any = None, seeds: Any = None) -> None:
        where = np.ones(self.num_envs, np.bool_) if mask is None else mask
        self.clock[where] = 0
        self.alive[where], self.ended[where] = True, False
        self.terminations[where] = False
        self._show(where)

    def _show(self, where: Flags) -> None:
        self.drawn[where] = self.draw()[where]
        seen = np.where(self.alive[:, :, None], self.see(), 0.0)
        self.rows[where] = seen.reshape(self.num_envs, -1)[where]
        self.masks[where] = self.allow()[where]

    def step(self, actions: Floats) -> None:
        chosen = actions.reshape(self.num_envs, AGENTS, -1)
        self.rewards[:] = np.where(self.alive, self.pay(chosen), 0.0)
        self.clock += 1
        over = self.clock[:, None] >= self.horizon
        self.terminations[:] = self.alive & (self.die(chosen) | over)
        self.alive &= ~self.terminations
        self.ended[:] = ~self.alive.any(axis=1)
        self._show(np.ones(self.num_envs, np.bool_))


class Recall(Lesson):
    """A cue of four is shown in the first step alone, and pays 1 where the last step names it."""

    columns = 4
    factors = (Factor("name", "categorical", 4),)
    horizon = 6

    def draw(self) -> NDArray[Any]:
        cue = np.eye(4)[self.rng.integers(4, size=(self.num_envs, AGENTS))]
        return np.where(self.clock[:, None, None] == 0, cue, self.drawn)

    def see(self) -> NDArray[Any]:
        return np.where(self.clock[:, None, None] == 0, self.drawn, 0.0)

    def pay(self, actions: Floats) -> NDArray[Any]:
        right = actions[:, :, 0] == self.drawn.argmax(axis=2)
        return np.where(self.clock[:, None] == self.horizon - 1, right, 0.0)


class Forbidden(Lesson):
    """Of six choices the last allowed one pays most; about half are forbidden, others each step."""

    factors = (Factor("choice", "categorical", 6),)
    masked = True

    def see(self) -> NDArray[Any]:
        return np.ones_like(self.drawn)

    def allow(self) -> Flags:
        flags = self.rng.random((self.num_envs, AGENTS, 6)) < 0.5
        flags[:, :, 0] = True
        return (flags | ~self.alive[:, :, None]).reshape(self.num_envs, -1)

    def pay(self, actions: Floats) -> NDArray[Any]:
        """1 for the last that is allowed, less for others, -9 for a forbidden one."""
        flags = self.masks.reshape(self.num_envs, AGENTS, 6)
        chosen = actions[:, :, :1].astype(np.int64)
        best = 5 - flags[:, :, ::-1].argmax(axis=2)
        allowed = np.take_along_axis(flags, chosen, axis=2)[:, :, 0]
        value = 0.1 * chosen[:, :, 0] + 0.5 * (chosen[:, :, 0] == best)
        return np.where(allowed, value - 0.1 * best + 0.5, -9.0)


class Last(Lesson):
    """Choice 1 pays .3 and ends the episode for both; choice 0 pays .2 in each of five steps.

    What follows the end is worth nothing. To whoever takes the next episode's first value
    for it an end at once seems best: .3 in every step. The second agent is worth ten times
    the first.
    """

    horizon = 5

    def see(self) -> NDArray[Any]:
        return np.broadcast_to(self.clock[:, None, None] / self.horizon, self.drawn.shape)

    def pay(self, actions: Floats) -> NDArray[Any]:
        return np.where(actions[:, :, 0] == 1, 0.3, 0.2) * np.array([1.0, 10.0])

    def die(self, actions: Floats) -> Flags:
        over = (actions[:, :, 0] == 1).any(axis=1, keepdims=True)
        return np.broadcast_to(over, (self.num_envs, AGENTS))


class Early(Last):
    """The same, but each ends its own life alone, and the other goes on."""

    def die(self, actions: Floats) -> Flags:
        return actions[:, :, 0] == 1


class Aim(Lesson):
    """Two numbers in [0, 1] are to match what is seen; pays minus the squared misses."""

    columns = 2
    factors = (Factor("aim", "bounded", 2),)

    def pay(self, actions: Floats) -> NDArray[Any]:
        return -((actions - (0.5 + 0.35 * self.drawn)) ** 2).sum(axis=2)


class Both(Lesson):
    """Two choices name the thirds that two numbers lie in; only both right pay."""

    columns = 2
    factors = (Factor("first", "categorical", 3), Factor("second", "categorical", 3))

    def draw(self) -> NDArray[Any]:
        return self.rng.integers(-1, 2, self.drawn.shape)

    def pay(self, actions: Floats) -> NDArray[Any]:
        return (actions == self.drawn + 1).all(axis=2)


class Roles(Lesson):
    """All see the same, and agent k is paid for choosing k."""

    def see(self) -> NDArray[Any]:
        return np.ones_like(self.drawn)

    def pay(self, actions: Floats) -> NDArray[Any]:
        return actions[:, :, 0] == np.arange(AGENTS)

"""A batched environment with a known optimum, small enough to solve in a minute.

Four agents act in order on one oracle column and on columns of their own:
  scout (box 2)       tracks the oracle `signal`, and passes its private `secret` on;
  chooser (discrete 3) names the third of [-1, 1] that the signal lies in;
  follower (box 1)    matches what the scout said of the secret, or its mirror image
                      where the chooser named the middle: neither is in its columns;
  monitor (box 2)     predicts the square of the signal (supervised), and says where
                      the chooser went.
The team's reward is minus the errors' mean; 0 is the optimum, known in closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import SimulatorError
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout
from signals.noise import mix

CHOICES = 3
TERMS = ("scout", "chooser", "follower", "monitor")
SHORTEST, LONGEST = 5, 12
UNIT = 2.0**64


def _columns(*names: str, privileged: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, "1", -1.0, 1.0, "toy", privileged) for name in names)


def toy_layout(padding: int = 0) -> LayerLayout:
    """The layout, with `padding` more shared columns that say nothing."""

    def box(name: str, own: str, *components: ActionComponent) -> AgentLayout:
        return AgentLayout(name, _columns(own), "box", components)

    choices = tuple(ActionComponent(f"third_{k}", "names a third") for k in range(CHOICES))
    return LayerLayout(
        layer="toy",
        shared=_columns("signal", "time_left", *(f"padding_{k}" for k in range(padding))),
        agents=(
            box("scout", "secret", ActionComponent("level", ""), ActionComponent("message", "")),
            AgentLayout("chooser", _columns("chooser_noise"), "discrete", choices),
            box("follower", "follower_noise", ActionComponent("echo", "")),
            box(
                "monitor",
                "monitor_noise",
                ActionComponent("prediction", "", supervised=True),
                ActionComponent("where", ""),
            ),
        ),
        privileged=_columns("next_signal", privileged=True),
    )


class ToyEnv:
    """N toy episodes; a row depends on its seed, episode and step alone."""

    metric_names = ("error",)
    reward_term_names = TERMS

    def __init__(self, num_envs: int, seed: int, padding: int = 0, spoil_at: int = -1) -> None:
        self.layout = toy_layout(padding)
        self.num_envs = num_envs
        self.spoil_at = spoil_at
        agents = len(self.layout.agents)
        self.rows = np.zeros((num_envs, self.layout.row_width), dtype=np.float32)
        self.states = np.zeros((num_envs, self.layout.state_width), dtype=np.float32)
        self.rewards = np.zeros((num_envs, agents), dtype=np.float32)
        self.terminations = np.zeros(num_envs, dtype=np.bool_)
        self.truncations = np.zeros(num_envs, dtype=np.bool_)
        self.targets = np.zeros((num_envs, 1), dtype=np.float32)
        self.episode_metrics = np.zeros((num_envs, 1))
        self.reward_terms = np.zeros((num_envs, len(TERMS)))
        self.seeds = np.arange(num_envs, dtype=np.uint64) + np.uint64(seed)
        self.episodes = np.full(num_envs, -1, dtype=np.int64)
        self.clock = np.zeros(num_envs, dtype=np.int64)
        self.error = np.zeros(num_envs)
        self.steps = 0

    def _draw(self, purpose: int, step: NDArray[np.int64]) -> NDArray[np.float64]:
        key = mix(self.seeds ^ mix(self.episodes.astype(np.uint64)))
        key = mix(key ^ mix(step.astype(np.uint64) * np.uint64(64) + np.uint64(purpose)))
        return 2.0 * (key.astype(np.float64) / UNIT) - 1.0

    @property
    def clusters(self) -> NDArray[np.int64]:
        return self.seeds.astype(np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        share = (self._draw(63, np.zeros_like(self.clock)) + 1.0) / 2.0
        return SHORTEST + (share * (LONGEST - SHORTEST + 1)).astype(np.int64)

    def _observe(self) -> None:
        width = self.layout.row_width
        self.rows[:, 0] = self._draw(0, self.clock)
        self.rows[:, 1] = 1.0 - self.clock / self.lengths
        own = self.layout.own_slice(0).start
        self.rows[:, 2:own] = self._draw(1, self.clock)[:, None]
        for number, column in enumerate(range(own, width)):
            self.rows[:, column] = self._draw(2 + number, self.clock)
        self.states[:, :width] = self.rows
        self.states[:, width] = self._draw(0, self.clock + 1)

    def reset(
        self,
        mask: NDArray[np.bool_] | None = None,
        seeds: NDArray[np.uint64] | None = None,
    ) -> None:
        mask = np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask
        self.episodes[mask] += 1
        if seeds is not None:
            self.seeds[mask] = seeds[mask]
            self.episodes[mask] = 0
        for array in (self.clock, self.error, self.terminations, self.truncations):
            array[mask] = 0
        self._observe()

    def wanted(self, actions: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """What each component should have been, given what was chosen before it."""
        signal = self.rows[:, 0].astype(np.float64)
        secret = self.rows[:, self.layout.own_slice(0).start]
        third = np.minimum(((signal + 1.0) / 2.0 * CHOICES).astype(np.int64), CHOICES - 1)
        message, chosen = actions[:, 1].astype(np.float64), actions[:, 2]
        return {
            "level": (signal + 1.0) / 2.0,
            "message": (secret + 1.0) / 2.0,
            "third": third.astype(np.float64),
            "echo": np.where(chosen == 1, 1.0 - message, message),
            "prediction": signal**2,
            "where": chosen.astype(np.float64) / (CHOICES - 1),
        }

    def step(self, actions: NDArray[np.float32]) -> None:
        if not np.isfinite(actions).all():
            raise SimulatorError("toy: an action is not finite")
        live = ~(self.terminations | self.truncations)
        want = self.wanted(actions)
        terms = self.reward_terms
        terms[:, 0] = -((actions[:, 0] - want["level"]) ** 2)
        terms[:, 0] -= (actions[:, 1] - want["message"]) ** 2
        terms[:, 1] = -0.3 * (actions[:, 2] != want["third"])
        terms[:, 2] = -2.0 * (actions[:, 3] - want["echo"]) ** 2
        terms[:, 3] = -((actions[:, 5] - want["where"]) ** 2)
        reward = np.where(live, terms.sum(axis=1), 0.0)
        self.rewards[:] = reward[:, None]
        self.targets[:, 0] = want["prediction"]
        self.error += np.where(live, np.abs(actions[:, 4] - want["prediction"]), 0.0)
        self.clock += live
        ended = live & (self.clock >= self.lengths)
        self.episode_metrics[ended, 0] = (self.error / np.maximum(self.clock, 1))[ended]
        cut = self.lengths % 2 == 0
        self.terminations |= ended & ~cut
        self.truncations |= ended & cut
        self._observe()
        self.steps += 1
        if self.steps == self.spoil_at:
            self.rewards[1, 2] = np.nan

    def state_dict(self) -> dict[str, Any]:
        names = ("seeds", "episodes", "clock", "error", "terminations", "truncations")
        return {name: getattr(self, name).copy() for name in names} | {"steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if name == "steps":
                self.steps = value
            else:
                getattr(self, name)[:] = value
        self._observe()


def make(num_envs: int, seed: int, **kwargs: Any) -> ToyEnv:
    return ToyEnv(num_envs, seed, **kwargs)

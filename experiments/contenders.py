"""What every trainer that is measured is given alike, so that their speeds compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Sharing = Literal["shared", "separate"]


@dataclass(frozen=True)
class Training:
    """One iteration, in environment steps (all agents act once), and its update.

    Of `env_steps` sampled, each of `epochs` epochs makes `minibatches` gradient steps. One
    gradient step sees `minibatch_env_steps` of every agent.
    """

    env_steps: int = 4096
    minibatches: int = 4
    epochs: int = 4
    hidden: tuple[int, ...] = (64, 64)
    gamma: float = 0.99
    gae_lambda: float = 0.95
    learning_rate: float = 3e-4
    clip: float = 0.2
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5
    adam_epsilon: float = 1e-5
    seed: int = 0

    @property
    def minibatch_env_steps(self) -> int:
        return self.env_steps // self.minibatches

    @property
    def gradient_steps(self) -> int:
        """In one iteration, for each network."""
        return self.epochs * self.minibatches


class Contender(Protocol):
    """A trainer that is measured. Both calls return the environment steps taken."""

    def iterate(self) -> int:
        """Sample and learn, as often as `Training` says."""
        ...

    def sample(self) -> int:
        """Sample as many steps as an iteration does, and learn nothing."""
        ...

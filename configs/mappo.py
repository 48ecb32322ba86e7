"""MAPPO: the policy's and critic's networks, the rollouts, the update and the budget.

Defaults follow Yu et al., "The Surprising Effectiveness of PPO in Cooperative
Multi-Agent Games" (2022), and the project's training table; a layer's YAML file
overrides what suits it (execution sets gamma 1).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from configs.base import Config

Activation = Literal["tanh", "relu"]


class PolicyConfig(Config):
    """The sequential actor: one network per agent, all of these hidden sizes.

    Boxes are Gaussian in logit space: sigma is a standard deviation of logits.
    """

    hidden: tuple[PositiveInt, ...] = Field(default=(256, 256), min_length=1)
    activation: Activation = "tanh"
    state_dependent_sigma: bool = False
    initial_sigma: PositiveFloat = 1.0
    min_sigma: PositiveFloat = 0.02
    max_sigma: PositiveFloat = 3.0
    output_gain: PositiveFloat = 0.01
    input_clip: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _sigma_lies_between_its_bounds(self) -> Self:
        if not self.min_sigma < self.initial_sigma < self.max_sigma:
            raise ValueError(
                f"initial_sigma={self.initial_sigma}: expected min_sigma={self.min_sigma} < "
                f"initial_sigma < max_sigma={self.max_sigma}"
            )
        return self


class CriticConfig(Config):
    """The centralized critic, read in training alone."""

    hidden: tuple[PositiveInt, ...] = Field(default=(256, 256), min_length=1)
    activation: Activation = "tanh"
    value_norm: bool = True
    value_norm_beta: float = Field(default=0.995, ge=0, lt=1)
    huber_delta: PositiveFloat = 10.0
    input_clip: PositiveFloat = 10.0


class StopConfig(Config):
    """The budget; the first limit reached stops the run.

    Decays follow env_steps and iterations where either is set, and minutes only
    where they stand alone: so the same seed gives the same curve up to its stop.
    """

    env_steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    iterations: PositiveInt | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.env_steps is None and self.minutes is None and self.iterations is None:
            raise ValueError("set at least one of env_steps, minutes, iterations")
        return self


class MappoConfig(Config):
    """One MAPPO run.

    num_envs: episodes stepped together, per runner.
    rollout_length: steps of each of them per iteration.
    stagger: before the first rollout, episodes are begun this many steps apart at
        most, so that a rollout holds all phases of an episode; 0 begins all at once.
    runners, learners: 0 runs in the driver's process; more are RLlib actors.
    learning_rate_decay, entropy_decay: "linear" goes to zero over the budget of
        `stop`: of env_steps and iterations, which do not depend on the machine's speed
        (minutes then only stop the run, before the decay has ended), else of minutes.
    torch_threads: of the driver; on networks of these sizes a second thread gains little on
        an idle machine, and on a busy one threads wait for each other.
    target_kl: ends an iteration's epochs once the approximate KL passes 1.5 times this.
    """

    policy: PolicyConfig = PolicyConfig()
    critic: CriticConfig = CriticConfig()
    stop: StopConfig = StopConfig(env_steps=1_000_000)
    num_envs: PositiveInt = 128
    rollout_length: PositiveInt = 32
    stagger: NonNegativeInt = 0
    runners: NonNegativeInt = 0
    learners: NonNegativeInt = 0
    minibatches: PositiveInt = 4
    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 3e-4
    critic_learning_rate: PositiveFloat | None = None
    learning_rate_decay: Literal["none", "linear"] = "none"
    gamma: float = Field(default=0.99, ge=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip: PositiveFloat = 0.2
    entropy_coefficient: NonNegativeFloat = 0.01
    entropy_decay: Literal["none", "linear"] = "none"
    value_coefficient: PositiveFloat = 0.5
    supervised_coefficient: NonNegativeFloat = 1.0
    max_grad_norm: PositiveFloat = 0.5
    normalize_advantages: bool = True
    target_kl: PositiveFloat | None = None
    adam_epsilon: PositiveFloat = 1e-5
    checkpoint_every: PositiveInt = 20
    keep_checkpoints: PositiveInt = 2
    torch_threads: PositiveInt = 1
    object_store_mb: int = Field(default=256, ge=80)
    sample_timeout_s: PositiveFloat = 300.0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _rows_divide(self) -> Self:
        shards = max(1, self.learners)
        if self.num_envs % shards:
            raise ValueError(
                f"num_envs={self.num_envs} with learners={self.learners}: expected num_envs to "
                "divide by learners, so that every learner gets equal shards"
            )
        rows = self.iteration_env_steps // shards
        if rows % self.minibatches:
            raise ValueError(
                f"minibatches={self.minibatches}: expected a divisor of the {rows} rows per "
                "learner and iteration (num_envs x rollout_length x runners / learners)"
            )
        return self

    @property
    def iteration_env_steps(self) -> int:
        """Environment steps (all agents act once) that one iteration samples."""
        return self.num_envs * self.rollout_length * max(1, self.runners)

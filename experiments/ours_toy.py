"""Our trainer as a contender: on the toy team, and on any batched environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from configs.actors import ActorConfig
from configs.mappo import CriticConfig, MappoConfig
from configs.mappo import Sharing as Weights
from experiments.bare_ppo import NUM_ENVS
from experiments.contenders import Sharing, Training
from trainers.mappo.config import MAPPOConfig

_WEIGHTS: Mapping[Sharing, Weights] = {"shared": "shared", "separate": "per_agent"}
_TOY = "experiments.toy_team:make_batched"


def toy_settings(sharing: Sharing, training: Training) -> MappoConfig:
    """The same networks, rollouts and updates as the other contenders have."""
    return MappoConfig(
        policy=ActorConfig(hidden=training.hidden),
        critic=CriticConfig(hidden=training.hidden, input="observations"),
        sharing=_WEIGHTS[sharing],
        num_envs=NUM_ENVS,
        rollout_length=training.env_steps // NUM_ENVS,
        epochs=training.epochs,
        minibatches=training.minibatches,
        gamma=training.gamma,
        gae_lambda=training.gae_lambda,
        learning_rate=training.learning_rate,
        clip=training.clip,
        entropy_coefficient=training.entropy_coefficient,
        value_coefficient=training.value_coefficient,
        max_grad_norm=training.max_grad_norm,
        adam_epsilon=training.adam_epsilon,
        seed=training.seed,
    )


class Ours:
    """A contender: MAPPO by `settings` on the batched environment `make`. ray must be up."""

    def __init__(
        self, settings: MappoConfig, make: str, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.settings = settings
        self.algorithm = MAPPOConfig().mappo(settings).batched_env(make, kwargs).build_algo()
        torch.set_num_threads(1)

    def iterate(self) -> int:
        """One training iteration; returns the environment steps in it."""
        self.algorithm.train()
        return self.settings.iteration_env_steps

    def sample(self) -> int:
        """A rollout that nothing is learnt from; returns its environment steps."""
        runner = self.algorithm.env_runner
        rollouts = runner.sample()
        runner.get_metrics()  # else they would pile up
        return sum(rollout.env_steps() for rollout in rollouts)

    def close(self) -> None:
        self.algorithm.stop()


class OursToy(Ours):
    """Our trainer on the toy team, on equal terms with the other contenders."""

    def __init__(self, sharing: Sharing, training: Training | None = None) -> None:
        super().__init__(toy_settings(sharing, training or Training()), _TOY)

"""`MAPPOConfig`: the project's MappoConfig, as RLlib's algorithm config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from signals.layout import LayerLayout
from trainers.mappo.modules import CRITIC, POLICY, CentralCriticModule, SequentialPolicyModule
from trainers.mappo.runner import BatchedEnvRunner


class MAPPOConfig(PPOConfig):
    """Built by `for_layer`; RLlib's fluent setters still apply to what it leaves alone."""

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from trainers.mappo.algorithm import MAPPO  # the algorithm names its config, too

            algo_class = MAPPO
        super().__init__(algo_class=algo_class)
        self.mappo = MappoConfig()

    def get_default_learner_class(self) -> type:
        from trainers.mappo.learner import MAPPOTorchLearner

        return MAPPOTorchLearner

    def for_layer(
        self, mappo: MappoConfig, layout: LayerLayout, make: str, kwargs: Mapping[str, Any]
    ) -> Self:
        """Everything that training `layout` on the environment `make` needs.

        make: "package.module:function", called as function(num_envs, seed, **kwargs)
        in every runner, returning a `BatchedEnv` of that layout.
        """
        self.mappo = mappo
        row, joint = _box(layout.row_width), _box(layout.action_width)
        options = {
            "make": make,
            "kwargs": dict(kwargs),
            "seed": mappo.seed,
            "stagger": mappo.stagger,
        }
        self.framework("torch")
        self.environment(
            env=f"{layout.layer}-batched",
            env_config=options,
            observation_space=row,
            action_space=joint,
            disable_env_checking=True,
        )
        self._runners(mappo)
        self._learning(mappo)
        self.multi_agent(policies={POLICY}, policy_mapping_fn=_every_agent_acts_by_the_policy)
        self.rl_module(rl_module_spec=_module_spec(mappo, layout, row, joint))
        self.debugging(seed=mappo.seed, log_level="ERROR")
        return self

    def _runners(self, mappo: MappoConfig) -> None:
        self.env_runners(
            env_runner_cls=BatchedEnvRunner,
            num_env_runners=mappo.runners,
            num_envs_per_env_runner=mappo.num_envs,
            rollout_fragment_length=mappo.rollout_length,
            sample_timeout_s=mappo.sample_timeout_s,
            add_default_connectors_to_env_to_module_pipeline=False,
            add_default_connectors_to_module_to_env_pipeline=False,
            merge_env_runner_states=False,
            broadcast_env_runner_states=False,
        )

    def _learning(self, mappo: MappoConfig) -> None:
        rows = mappo.iteration_env_steps // max(1, mappo.learners)
        self.learners(num_learners=mappo.learners, add_default_connectors_to_learner_pipeline=False)
        self.training(
            gamma=mappo.gamma,
            lambda_=mappo.gae_lambda,
            lr=mappo.learning_rate,
            num_epochs=mappo.epochs,
            train_batch_size_per_learner=rows,
            minibatch_size=rows // mappo.minibatches,
            clip_param=mappo.clip,
            entropy_coeff=mappo.entropy_coefficient,
            vf_loss_coeff=mappo.value_coefficient,
            grad_clip=mappo.max_grad_norm,
            use_kl_loss=False,
        )

    def validate(self) -> None:
        shards = max(1, self.num_learners)
        if self.num_envs_per_env_runner % shards:
            raise TrainingError(
                f"num_envs_per_env_runner={self.num_envs_per_env_runner} with "
                f"num_learners={self.num_learners}: expected a multiple, so that all learners "
                "get equal shards"
            )
        super().validate()


def _every_agent_acts_by_the_policy(*_: Any, **__: Any) -> str:
    return POLICY


def _box(width: int) -> gym.Space:
    return gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)


def _module_spec(
    mappo: MappoConfig, layout: LayerLayout, row: gym.Space, joint: gym.Space
) -> MultiRLModuleSpec:
    critic_options = {
        "state_width": layout.state_width,
        "agents": len(layout.agents),
        "config": mappo.critic,
        "seed": mappo.seed,
    }
    policy_options = {"layout": layout, "config": mappo.policy, "seed": mappo.seed}
    return MultiRLModuleSpec(
        rl_module_specs={
            CRITIC: RLModuleSpec(
                module_class=CentralCriticModule,
                observation_space=_box(layout.state_width),
                action_space=joint,
                learner_only=True,
                model_config=critic_options,
            ),
            POLICY: RLModuleSpec(
                module_class=SequentialPolicyModule,
                observation_space=row,
                action_space=joint,
                model_config=policy_options,
            ),
        }
    )

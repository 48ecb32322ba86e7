"""`MAPPOConfig`: RLlib's algorithm config for any team of agents."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import gymnasium as gym
import numpy as np
import ray
import torch
from pydantic import BaseModel
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from configs.errors import TrainingError
from configs.loading import load_config
from configs.mappo import MappoConfig
from signals.layout import LayerLayout
from signals.team import TeamLayout
from trainers.mappo.costs import check_costs
from trainers.mappo.curriculum import stage_kwargs
from trainers.mappo.machine import detect, sized
from trainers.mappo.modules import ActorModule, CentralCriticModule
from trainers.mappo.plan import CRITIC, TeamPlan, plan_training
from trainers.mappo.runner import BatchedEnvRunner
from trainers.mappo.sampler import make_environment
from trainers.mappo.unseen import refuse_unseen_split
from trainers.registry import load

VECTOR = "envs.vector:make_vector"


class MAPPOConfig(PPOConfig):
    """Say the environment, then how to learn; `build_algo()` gives a `MAPPO`.

        MAPPOConfig().mappo(num_envs=32, sharing="per_agent").parallel_env(
            "mpe2.simple_spread_v3:parallel_env", N=3
        )

    RLlib's fluent setters still apply to what this leaves alone.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from trainers.mappo.algorithm import MAPPO  # the algorithm names its config, too

            algo_class = MAPPO
        super().__init__(algo_class=algo_class)
        self.settings = MappoConfig()
        self.plan: TeamPlan | None = None
        self._named: tuple[str, dict[str, Any]] | None = None  # the ParallelEnv, as it was said
        self.resume_problem = ""  # why a resume would begin episodes anew; "" where it goes on

    def get_default_learner_class(self) -> type:
        from trainers.mappo.learner import MAPPOTorchLearner

        return MAPPOTorchLearner

    def mappo(self, settings: MappoConfig | None = None, **changes: Any) -> Self:
        """Take `settings`, or those there are, with the fields in `changes` set.

        A mapping changes what it names of policy, critic, stop and curriculum; `groups`
        are replaced. The environment, if one was named, is looked at anew.

        Raises:
            ConfigError: a field does not exist or its value is wrong.
            TrainingError: the environment named before does not go with the settings.
        """
        base = (self.settings if settings is None else settings).model_dump(mode="json")
        if "groups" in changes:
            del base["groups"]
        self.settings = load_config(MappoConfig, base, _plain(changes))
        if self._named is not None:
            env, kwargs = self._named
            return self.parallel_env(env, **kwargs)
        if self.plan is not None:
            return self.batched_env(self.env_config["make"], self.env_config["kwargs"])
        return self

    def parallel_env(self, env: str, **kwargs: Any) -> Self:
        """Train on any PettingZoo ParallelEnv.

        env: "package.module:function", called as function(**kwargs) for every copy.

        Raises:
            TrainingError: there is no such function, its agents cannot be trained as the
                settings ask, or `kwargs` name data that are kept from training.
        """
        self.batched_env(VECTOR, vector_options(env, kwargs, self.settings))
        self._named = (env, dict(kwargs))
        return self

    def batched_env(self, make: str, kwargs: Mapping[str, Any] | None = None) -> Self:
        """Train on a batched environment: a `BatchedEnv` of our layers or a `TeamEnv`.

        make: "package.module:function", called as function(num_envs, seed, **kwargs)
        in every runner.

        Raises:
            TrainingError: `kwargs`, alone or as a stage of the curriculum lays them out, name
                another split of the data than the one for training; or a constraint's cost is
                none of this environment.
        """
        for stage in self._stages(kwargs or {}):
            refuse_unseen_split(stage, make)
        self._named = None
        probe = make_environment(make, 1, self.settings.seed, kwargs or {})
        layout = probe.layout
        self.resume_problem = getattr(probe, "resume_problem", "")
        try:
            check_costs(self.settings.constraints, probe)
        finally:
            if hasattr(probe, "close"):
                probe.close()
        return self._arrange(layout, make, kwargs or {})

    def _arrange(
        self, layout: LayerLayout | TeamLayout, make: str, kwargs: Mapping[str, Any]
    ) -> Self:
        self.plan = plan = plan_training(layout, self.settings)
        self.settings = settings = sized(self.settings, plan, detect(self.settings))
        row, joint = _box(plan.row_width), _box(layout.action_width)
        options = {
            "make": make,
            "kwargs": dict(kwargs),
            "stages": self._stages(kwargs),
            "seed": settings.seed,
            "stagger": settings.stagger,
            "sequence_length": settings.sequence_length,
            "reward_function": settings.reward_function,
            "constraints": [told.model_dump(mode="json") for told in settings.constraints],
        }
        self.framework("torch")
        # RLlib would lay the new one over the last environment's.
        self.env_config: dict[str, Any] = {}
        self.environment(
            env=f"{plan.name}-batched",
            env_config=options,
            observation_space=row,
            action_space=joint,
            disable_env_checking=True,
        )
        self._runners(settings)
        self._learning(settings)
        self.multi_agent(
            policies={actor.name for actor in plan.actors}, policy_mapping_fn=_never_asked
        )
        self.rl_module(rl_module_spec=_module_spec(settings, plan, row, joint))
        self.debugging(seed=settings.seed, log_level="ERROR")
        return self

    def _stages(self, kwargs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The environment's keyword arguments in each stage of the curriculum."""
        curriculum = self.settings.curriculum
        if curriculum is None:
            return [dict(kwargs)]
        return [stage_kwargs(kwargs, stage.kwargs) for stage in curriculum.stages]

    def _runners(self, settings: MappoConfig) -> None:
        self.env_runners(
            env_runner_cls=BatchedEnvRunner,
            add_default_connectors_to_env_to_module_pipeline=False,
            add_default_connectors_to_module_to_env_pipeline=False,
            merge_env_runner_states=False,
            broadcast_env_runner_states=False,
            **_of_runners(settings),
        )

    def _learning(self, settings: MappoConfig) -> None:
        self.learners(add_default_connectors_to_learner_pipeline=False, **_of_learners(settings))
        self.training(use_kl_loss=False, **_of_training(settings))

    @property
    def training_plan(self) -> TeamPlan:
        """Who acts by which module.

        Raises:
            TrainingError: no environment was named yet.
        """
        if self.plan is None:
            raise TrainingError(
                "MAPPOConfig without an environment: call parallel_env(...) or batched_env(...)"
            )
        return self.plan

    def _check_told(self) -> None:
        """Refuse what RLlib's own setters changed behind the settings, which alone are read."""
        settings = self.settings
        told = _of_runners(settings) | _of_learners(settings) | _of_training(settings)
        for name, value in told.items():
            if (now := getattr(self, name)) != value:
                raise TrainingError(
                    f"{name}={now} was set by RLlib's own setter, where the settings give "
                    f"{value}: expected no change, since MAPPO learns by its settings alone; set "
                    "it by mappo(...), see configs.mappo.MappoConfig for its name there"
                )

    def validate(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            TrainingError: no environment was named, or settings do not go together.
        """
        plan = self.training_plan
        if not self.in_evaluation:
            self._check_told()
        _check_sequences(self.settings, plan)
        _check_gpus(self.settings)
        if self.settings.reward_function is not None:
            load("rewards", self.settings.reward_function)
        with _quiet():
            super().validate()


def _plain(value: Any) -> Any:
    """`value` with every model in it as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _of_runners(settings: MappoConfig) -> dict[str, Any]:
    """What RLlib is told of runners, by its own names."""
    return {
        "num_env_runners": settings.runners,
        "num_envs_per_env_runner": settings.num_envs,
        "rollout_fragment_length": settings.rollout_length,
        "sample_timeout_s": settings.sample_timeout_s,
    }


def _of_learners(settings: MappoConfig) -> dict[str, Any]:
    return {
        "num_learners": settings.learners,
        "num_gpus_per_learner": settings.gpus_per_learner,
    }


def _of_training(settings: MappoConfig) -> dict[str, Any]:
    rows = settings.iteration_env_steps // max(1, settings.learners)
    return {
        "gamma": settings.gamma,
        "lambda_": settings.gae_lambda,
        "lr": settings.learning_rate,
        "num_epochs": settings.epochs,
        "train_batch_size_per_learner": rows,
        "minibatch_size": rows // settings.minibatches,
        "clip_param": settings.clip,
        "entropy_coeff": settings.entropy_coefficient,
        "vf_loss_coeff": settings.value_coefficient,
        "grad_clip": settings.max_grad_norm,
    }


def _check_gpus(settings: MappoConfig) -> None:
    """Refuse to wait for GPUs that are not there: Ray would, without a word."""
    wanted = settings.gpus_per_learner * max(1, settings.learners)
    if not wanted:
        return
    if settings.learners and ray.is_initialized():
        found = float(ray.cluster_resources().get("GPU", 0.0))
    elif settings.learners and "RAY_ADDRESS" in os.environ:
        return  # another machine's, which is asked once it is joined
    else:
        found = float(torch.cuda.device_count())
    if found < wanted:
        raise TrainingError(
            f"mappo.gpus_per_learner={settings.gpus_per_learner:g} with "
            f"learners={settings.learners}: expected {wanted:g} GPUs, found {found:g}; set it to 0 "
            "to learn on the CPU, or take fewer learners"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """RLlib greets everyone who validates a config with a note on its API."""
    log = logging.getLogger("ray.rllib")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def vector_options(env: str, kwargs: Mapping[str, Any], settings: MappoConfig) -> dict[str, Any]:
    """What `VECTOR` is called with for the PettingZoo environment `env`."""
    groups = {name: list(group.agents) for name, group in settings.groups.items()}
    return {
        "env": env,
        "kwargs": dict(kwargs),
        "groups": groups or None,
        "with_state": settings.critic.input != "observations",
    }


def _check_sequences(settings: MappoConfig, plan: TeamPlan) -> None:
    if not plan.has_memory:
        return
    if settings.rollout_length % settings.sequence_length:
        raise TrainingError(
            f"mappo.rollout_length={settings.rollout_length} with "
            f"sequence_length={settings.sequence_length} and actors with a memory: expected a "
            "multiple, so that a rollout is whole sequences"
        )
    units = settings.iteration_env_steps // max(1, settings.learners) // settings.sequence_length
    if units % settings.minibatches:
        raise TrainingError(
            f"mappo.minibatches={settings.minibatches} with actors with a memory: expected a "
            f"divisor of the {units} sequences per learner and iteration"
        )


def _never_asked(*_: Any, **__: Any) -> str:
    raise RuntimeError("runners step whole groups; no agent is mapped to a module one by one")


def _box(width: int) -> gym.Space:
    return gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)


def _module_spec(
    settings: MappoConfig, plan: TeamPlan, row: gym.Space, joint: gym.Space
) -> MultiRLModuleSpec:
    modules = {
        actor.name: RLModuleSpec(
            module_class=ActorModule,
            observation_space=row,
            action_space=joint,
            model_config={"actor": actor},
        )
        for actor in plan.actors
    }
    modules[CRITIC] = RLModuleSpec(
        module_class=CentralCriticModule,
        observation_space=_box(plan.state_width),
        action_space=joint,
        learner_only=True,
        model_config={"plan": plan, "config": settings},
    )
    return MultiRLModuleSpec(rl_module_specs=modules)

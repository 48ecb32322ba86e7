"""RLlib's environment runner over a batched environment: no episodes, no connectors."""

from __future__ import annotations

import traceback
from typing import Any

import ray
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from configs.constraints import ConstraintConfig
from configs.errors import GrandmodelError
from policies.actor import Actor
from trainers.mappo.plan import TeamPlan
from trainers.mappo.rollout import OUTDATED, Rollout, RolloutFailure
from trainers.mappo.sampler import Sampler, make_environment
from trainers.registry import load


class BatchedEnvRunner(MultiAgentEnvRunner):
    """Samples `Rollout`s. RLlib's per-row paths (episodes, connectors, callbacks) are not used.

    `config.env_config` holds make, stages (keyword arguments of each), seed, stagger,
    sequence_length and constraints; `config.plan` says who acts by which module.
    """

    sampler: Sampler | None = None
    stage: int = 0  # of the curriculum
    multipliers: tuple[float, ...] = ()  # of the constraints

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        # RLlib's own constructor must not see the environment: it would look for
        # gymnasium spaces on it. From here on `env` says that there is one.
        self.env = None if self.sampler is None else self.sampler.env
        if self.worker_index:
            torch.set_num_threads(1)  # runners are parallel already

    def make_env(self) -> None:
        options = self.config.env_config
        kwargs = options["stages"][self.stage]
        self.num_envs = self.config.num_envs_per_env_runner
        worker = self.worker_index or 0
        seed = options["seed"]
        env = make_environment(options["make"], self.num_envs, seed, kwargs)
        reward = options["reward_function"]
        self.sampler = Sampler(
            env,
            self.plan,
            seed,
            worker,
            options["stagger"],
            options["sequence_length"],
            None if reward is None else load("rewards", reward),
            [ConstraintConfig.model_validate(told) for told in options["constraints"]],
        )

    @property
    def plan(self) -> TeamPlan:
        plan: TeamPlan = self.config.plan
        return plan

    def get_spaces(self) -> dict[str, Any]:
        spaces = (self.config.observation_space, self.config.action_space)
        names = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES)
        return dict.fromkeys((*names, *(actor.name for actor in self.plan.actors)), spaces)

    def _actors(self) -> dict[str, Actor]:
        return {actor.name: self.module[actor.name].actor for actor in self.plan.actors}

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Rollout | RolloutFailure]:
        """One rollout, or rollouts until `num_episodes` episodes have ended."""
        if random_actions:
            raise ValueError("random_actions: this runner samples from its policy alone")
        if self.sampler is None:
            raise ValueError("this runner has no environment to sample from")
        if force_reset:
            self.make_env()
        length = self.config.get_rollout_fragment_length(self.worker_index)
        if num_timesteps is not None:
            length = max(1, num_timesteps // self.num_envs)
        rollouts: list[Rollout | RolloutFailure] = []
        episodes = 0
        try:
            while not rollouts or (num_episodes is not None and episodes < num_episodes):
                rollout = self.sampler.sample(self._actors(), length, explore, self.multipliers)
                episodes += rollout.stats.episodes
                rollouts.append(rollout)
        except GrandmodelError as error:
            if not self.worker_index:
                raise
            return [RolloutFailure(str(error))]
        self._count(sum(len(r) for r in rollouts), sum(r.agent_steps() for r in rollouts))
        return rollouts

    def _count(self, env_steps: int, agent_steps: int) -> None:
        self.num_env_steps_sampled_lifetime += env_steps
        log = self.metrics.log_value
        log(NUM_ENV_STEPS_SAMPLED, env_steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, env_steps, reduce="lifetime_sum", with_throughput=True)
        log((NUM_AGENT_STEPS_SAMPLED, ALL_MODULES), agent_steps, reduce="sum")
        log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, ALL_MODULES), agent_steps, reduce="lifetime_sum")

    @property
    def weights_seq_no(self) -> int:
        """The number of the weights that this runner samples with."""
        return int(self._weights_seq_no)

    def sample_at(
        self,
        iteration: int,
        stage: int = 0,
        weights_seq_no: int | None = None,
        multipliers: tuple[float, ...] = (),
    ) -> tuple[list[Rollout | RolloutFailure], Any]:
        """One rollout for the training's iteration after `iteration`, and the metrics of it.

        In `stage` of the curriculum and with penalties by the constraints' `multipliers`: given
        each time, so that a runner built anew cannot sample by others than the training has. Nor
        by other weights: where `weights_seq_no` is not its own number it samples nothing and
        answers `OUTDATED`.
        """
        if weights_seq_no is not None and weights_seq_no != self.weights_seq_no:
            return [OUTDATED], self.get_metrics()
        try:
            self.multipliers = multipliers
            if self.sampler is not None:
                self._enter(stage)
                self.sampler.begin_at(iteration)
            found = self.sample()
        except Exception as error:
            # Whatever it is: raised, it would end this process and be started all over again.
            if not self.worker_index:
                raise
            found = [RolloutFailure(_told(error))]
        return found, self.get_metrics()

    def sample_anew(
        self, state: Any, iteration: int, stage: int, multipliers: tuple[float, ...] = ()
    ) -> tuple[list[Rollout | RolloutFailure], Any]:
        """`sample_at` of a runner that is outdated: `state` refers to an up-to-date one's."""
        self.set_state(ray.get(state))
        return self.sample_at(iteration, stage, None, multipliers)

    def _enter(self, stage: int) -> None:
        if stage == self.stage:
            return
        self._close()
        self.stage = stage
        self.make_env()
        self.env = self.sampler.env if self.sampler is not None else None

    def _close(self) -> None:
        close = getattr(self.env, "close", None)
        if close is not None:
            close()

    def get_metrics(self) -> Any:
        return self.metrics.reduce()

    def simulator_state(self) -> dict[str, Any] | None:
        """The sampler's state. Apart from `get_state`, which RLlib copies between runners."""
        return None if self.sampler is None else self.sampler.state_dict() | {"stage": self.stage}

    def load_simulator_state(self, state: dict[str, Any]) -> RolloutFailure | None:
        """Restore what `simulator_state` gave, or say in a remote runner why it does not fit."""
        if self.sampler is None:
            return None
        try:
            self._enter(int(state["stage"]))
            self.sampler.load_state(state)
        except Exception as error:
            if not self.worker_index:
                raise
            return RolloutFailure(_told(error))
        return None

    def assert_healthy(self) -> None:
        if self.sampler is None or self.module is None:
            raise RuntimeError("runner without an environment or a module")

    def stop(self) -> None:
        self._close()
        self.sampler = self.env = None


def _told(error: Exception) -> str:
    """An error in one line; one that is no user's says where it was raised."""
    if isinstance(error, GrandmodelError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"

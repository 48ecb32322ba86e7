"""Stock RLlib on a team: PPO on the new API stack, nothing of ours but the adapter.

What makes its updates equal to ours and to the bare loop's (`Training`): an iteration of
4,096 environment steps makes 16 gradient steps for every network. Stock counts a minibatch
in rows of each module: a module that five agents share has five rows a step, a separate
one has one. It refuses a minibatch of more rows than the iteration has steps, so its steps
are counted by agent. Its learner adds a row without loss at the end of each piece of an
episode, for the value there, and draws minibatches until every row was seen `epochs`
times. So a minibatch is made larger by the most such rows that there can be, shared out
over the minibatches: 16 steps in all, in each as many rows with a loss as elsewhere.

Actor and value function are networks apart; the value function reads one agent's
observation, as stock has no other. Set to its best: no KL loss, no evaluation, no checks
of the environment, everything in one process, and episodes left as lists, since its runner
would else turn all that have ended into arrays anew at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import ray
import torch
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

from experiments.contenders import Sharing, Training
from experiments.toy_team import LENGTH, parallel_env
from trainers.session import start_ray

_SHARED = "all"
_OBJECT_STORE_MB = 100


class TeamAsMultiAgentEnv(MultiAgentEnv):
    """A PettingZoo ParallelEnv as RLlib's MultiAgentEnv, with flags that RLlib reads rightly.

    RLlib 2.60 takes a team of which every agent is flagged, be it as truncated, for
    terminated, and then gives nobody's last observation a value. So in the step in which
    the last agents go, truncation is told by `__all__` alone, and beside it terminations
    by name: an episode is truncated where any of the last was, else terminated.
    """

    def __init__(self, env: ParallelEnv) -> None:
        super().__init__()
        self.env = env
        self.possible_agents = list(env.possible_agents)
        self.agents = list(env.possible_agents)
        self.observation_spaces = {a: env.observation_space(a) for a in self.possible_agents}
        self.action_spaces = {a: env.action_space(a) for a in self.possible_agents}
        self.observation_space = gym.spaces.Dict(self.observation_spaces)
        self.action_space = gym.spaces.Dict(self.action_spaces)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        self.agents = list(self.env.agents)
        return observations, infos

    def step(self, action_dict: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        observations, rewards, terminations, truncations, infos = self.env.step(action_dict)
        self.agents = list(self.env.agents)
        over = not self.env.agents
        cut = over and any(truncations.values())
        return (
            observations,
            rewards,
            terminations | {"__all__": over and not cut},
            {"__all__": True} if cut else truncations | {"__all__": False},
            infos,
        )

    def close(self) -> None:
        self.env.close()


@dataclass(frozen=True)
class Team:
    """What stock trains on: a name, how to make it, and how long its episodes are."""

    name: str
    make: Callable[[], ParallelEnv]
    episode_steps: int


TOY = Team("toy-team", parallel_env, LENGTH)


def stock_config(
    num_envs: int, sharing: Sharing, training: Training | None = None, team: Team = TOY
) -> PPOConfig:
    """Stock PPO on `num_envs` teams, with updates as the module's docstring says."""
    training = training or Training()
    register_env(team.name, lambda _: TeamAsMultiAgentEnv(team.make()))
    agents = list(team.make().possible_agents)
    modules = [_SHARED] if sharing == "shared" else agents
    rows_per_step = len(agents) // len(modules)
    # A piece of n steps holds at most so many ends of episodes, and its own.
    pieces = num_envs * (math.ceil(training.env_steps / num_envs / team.episode_steps) + 1)
    margin = math.ceil(pieces * rows_per_step / training.minibatches)

    def module_of(agent: str, *_: Any, **__: Any) -> str:
        return _SHARED if sharing == "shared" else agent

    config = PPOConfig()
    config.environment(team.name, disable_env_checking=True)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs, episodes_to_numpy=False)
    config.learners(num_learners=0)
    config.multi_agent(
        policies=set(modules), policy_mapping_fn=module_of, count_steps_by="agent_steps"
    )
    config.rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=list(training.hidden), fcnet_activation="tanh", vf_share_layers=False
        )
    )
    config.training(
        train_batch_size_per_learner=training.env_steps * len(agents),
        minibatch_size=training.minibatch_env_steps * rows_per_step + margin,
        num_epochs=training.epochs,
        gamma=training.gamma,
        lambda_=training.gae_lambda,
        lr=training.learning_rate,
        clip_param=training.clip,
        entropy_coeff=training.entropy_coefficient,
        vf_loss_coeff=training.value_coefficient,
        grad_clip=training.max_grad_norm,
        use_kl_loss=False,
    )
    config.debugging(seed=training.seed, log_level="ERROR")
    return config


@contextmanager
def local_ray() -> Iterator[None]:
    """A ray of two CPUs on this machine, for as long as it is needed; or the one that is up."""
    if ray.is_initialized():
        yield
        return
    start_ray(2, _OBJECT_STORE_MB)
    try:
        yield
    finally:
        ray.shutdown()


class Stock:
    """A contender: stock PPO, ready to train. ray must be up."""

    def __init__(
        self, num_envs: int, sharing: Sharing, training: Training | None = None, team: Team = TOY
    ) -> None:
        self.training = training or Training()
        self.algorithm = stock_config(num_envs, sharing, self.training, team).build_algo()
        torch.set_num_threads(1)

    def iterate(self) -> int:
        """One training iteration; returns the environment steps in it."""
        self.algorithm.train()
        return self.training.env_steps

    def sample(self) -> int:
        """As many steps without learning; returns the environment steps taken."""
        runner = self.algorithm.env_runner
        episodes = runner.sample(num_timesteps=self.algorithm.config.total_train_batch_size)
        runner.get_metrics()  # else they would pile up
        return sum(len(episode) for episode in episodes)

    def close(self) -> None:
        self.algorithm.stop()

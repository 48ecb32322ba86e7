"""Stock RLlib as the reference: equal advantages on equal trajectories.

The trajectories of a PettingZoo environment become MultiAgentEpisodes as stock runners
build them, and go through the connectors of a real stock PPO learner, whose modules have
our value function. The same steps as arrays go through `policies.gae`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing

from experiments.contenders import Training
from experiments.stock_rllib import TeamAsMultiAgentEnv, stock_config
from experiments.toy_team import AGENT_NAMES, AGENTS, CHOICES, COLUMNS, parallel_env
from policies.gae import generalized_advantages

LENGTH = 20
TRAINING = Training(gamma=0.97, gae_lambda=0.9)


class OurValues(TorchRLModule, ValueFunctionAPI):
    """No policy is needed: a value of each observation, other for every agent."""

    def setup(self) -> None:
        generator = torch.Generator().manual_seed(self.model_config["agent"])
        self.weight = torch.nn.Parameter(torch.randn(COLUMNS, generator=generator))

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        return 3.0 + torch.tanh(batch[Columns.OBS] @ self.weight)


class Steps(NamedTuple):
    """T steps of one environment, [T, agents, ...]; zeros for those who were dead."""

    before: np.ndarray
    after: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    acted: np.ndarray


def record(
    make: Callable[[], TeamAsMultiAgentEnv], seed: int, count: int
) -> tuple[Steps, list[MultiAgentEpisode]]:
    """`count` steps of random actions: as the environment gave them, and as RLlib keeps them."""
    env, rng = make(), np.random.default_rng(seed)
    flat = (count, AGENTS)
    steps = Steps(
        *np.zeros((2, *flat, COLUMNS), np.float32),
        np.zeros(flat, np.float32),
        *np.zeros((3, *flat), np.bool_),
    )
    episodes: list[MultiAgentEpisode] = []
    observations, infos = env.reset(seed=seed)
    for t in range(count):
        if not episodes or episodes[-1].is_done:
            episode = MultiAgentEpisode(
                observation_space=env.observation_spaces,
                action_space=env.action_spaces,
                agent_to_module_mapping_fn=lambda agent, _: agent,
            )
            episode.add_env_reset(observations=observations, infos=infos)
            episodes.append(episode)
        acting = list(env.agents)
        actions = {agent: int(rng.integers(CHOICES)) for agent in acting}
        after, rewards, terminateds, truncateds, infos = env.step(actions)
        episodes[-1].add_env_step(
            after, actions, rewards, infos, terminateds=terminateds, truncateds=truncateds
        )
        batch = env.env.batch  # the flags as the simulation has them, not as they were adapted
        for k, agent in enumerate(AGENT_NAMES):
            if agent in acting:
                steps.before[t, k], steps.after[t, k] = observations[agent], after[agent]
                steps.rewards[t, k], steps.acted[t, k] = rewards[agent], True
        steps.terminations[t], steps.truncations[t] = batch.terminations[0], batch.truncations[0]
        observations = after
        if not env.agents:
            assert episodes[-1].is_done
            observations, infos = env.reset()
    return steps, episodes


@pytest.fixture(scope="module")
def learner() -> Any:
    """A stock PPO learner, built as stock builds it, outside ray."""
    config = stock_config(8, "separate", TRAINING)
    env = TeamAsMultiAgentEnv(parallel_env())
    specs = {
        agent: RLModuleSpec(
            module_class=OurValues,
            observation_space=env.observation_spaces[agent],
            action_space=env.action_spaces[agent],
            model_config={"agent": k},
        )
        for k, agent in enumerate(AGENT_NAMES)
    }
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    return config.build_learner(env=env)


def through_stock(learner: Any, episodes: list[MultiAgentEpisode]) -> dict[str, np.ndarray]:
    """The advantages of every agent's real steps, in order, before stock normalises them."""
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=episodes, shared_data={}, metrics=None
    )
    out = {}
    for agent, rows in batch.items():
        values = learner.module[agent].compute_values(rows)
        real = rows[Columns.LOSS_MASK]
        out[agent] = (rows[Postprocessing.VALUE_TARGETS] - values)[real].detach().numpy()
    return out


def through_ours(learner: Any, steps: Steps) -> dict[str, np.ndarray]:
    def values(seen: np.ndarray) -> torch.Tensor:
        """[T, agents, 1]: each agent a row of its own, since lives end one by one."""
        parts = [
            learner.module[agent].compute_values({Columns.OBS: torch.tensor(seen[:, k])})
            for k, agent in enumerate(AGENT_NAMES)
        ]
        return torch.stack(parts, dim=1).unsqueeze(-1).detach()

    advantages = generalized_advantages(
        torch.tensor(steps.rewards).unsqueeze(-1),
        values(steps.before),
        values(steps.after),
        torch.tensor(steps.terminations),
        torch.tensor(steps.truncations),
        TRAINING.gamma,
        TRAINING.gae_lambda,
    )
    return {
        agent: advantages[:, k, 0].numpy()[steps.acted[:, k]] for k, agent in enumerate(AGENT_NAMES)
    }


@pytest.mark.parametrize("count", [50, 2 * LENGTH])
@pytest.mark.parametrize(
    ("lives", "dies", "cut"),
    [
        ((), False, True),
        ((9,) * AGENTS, True, False),
        ((3, 12, 7, 99, 12), True, True),
        ((LENGTH, 5, 99, LENGTH, 99), True, True),  # some die in the step that cuts the rest
    ],
    ids=["fixed", "all die", "staggered", "mixed last step"],
)
def test_advantages_equal_those_of_stock(
    learner: Any, lives: tuple[int, ...], dies: bool, cut: bool, count: int
) -> None:
    steps, episodes = record(
        lambda: TeamAsMultiAgentEnv(parallel_env(LENGTH, lives)), seed=7, count=count
    )
    assert steps.terminations.any() == dies and steps.truncations.any() == cut
    assert steps.acted.all() == (len(set(lives)) < 2)
    ours = through_ours(learner, steps)
    stock = through_stock(learner, episodes)
    assert sorted(stock) == sorted(AGENT_NAMES)
    for agent in AGENT_NAMES:
        assert len(ours[agent]) == steps.acted[:, AGENT_NAMES.index(agent)].sum()
        np.testing.assert_allclose(stock[agent], ours[agent], atol=1e-5, err_msg=agent)


class FlagsForEveryone(TeamAsMultiAgentEnv):
    """The flags as one would write them down: everyone's, and `__all__` beside them."""

    def step(self, action_dict: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        observations, rewards, ended, cut, infos = self.env.step(action_dict)
        self.agents = list(self.env.agents)
        ended, cut = dict(ended), dict(cut)
        ended["__all__"], cut["__all__"] = all(ended.values()), all(cut.values())
        return observations, rewards, ended, cut, infos


def test_stock_forgets_the_value_of_a_team_that_is_cut_as_one(learner: Any) -> None:
    """Why the adapter tells truncations by `__all__` alone; if this fails, RLlib was mended."""
    steps, episodes = record(lambda: FlagsForEveryone(parallel_env(LENGTH)), seed=7, count=LENGTH)
    assert steps.truncations[-1].all() and not steps.terminations.any()
    ours, stock = through_ours(learner, steps), through_stock(learner, episodes)
    for agent in AGENT_NAMES:
        lost = ours[agent][-1] - stock[agent][-1]
        value = learner.module[agent].compute_values(
            {Columns.OBS: torch.tensor(steps.after[-1:, AGENT_NAMES.index(agent)])}
        )
        assert lost == pytest.approx(TRAINING.gamma * value.item(), abs=1e-5)

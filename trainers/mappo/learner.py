"""RLlib's learner around `Update`: where weights, optimizers and other learners come from."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from torch import Tensor

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from trainers.mappo.modules import ActorModule, CentralCriticModule
from trainers.mappo.plan import CRITIC, TeamPlan
from trainers.mappo.rollout import Rollout
from trainers.mappo.update import Update, alone, build_optimizer


class MAPPOTorchLearner(PPOTorchLearner):
    """Trains on `Rollout`s given as episodes; `config.settings` and `config.plan` say how.

    RLlib's own learner connectors, minibatch iterator and per-module losses are not
    used: the first build Python lists per row, the second gives modules of fewer rows
    more epochs. `Update` averages gradients over learners itself, in one message.
    """

    _update_rollouts: Update | None = None

    @property
    def settings(self) -> MappoConfig:
        settings: MappoConfig = self.config.settings
        return settings

    @property
    def plan(self) -> TeamPlan:
        plan: TeamPlan = self.config.plan
        return plan

    def build(self) -> None:
        if self.config.num_learners:
            torch.set_num_threads(1)  # learners are parallel already
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self._module[module_id])
        optimizer = build_optimizer(module_id, list(parameters), self.settings)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def update(
        self,
        batch: Any = None,
        training_data: Any = None,
        *,
        timesteps: dict[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """All epochs over one iteration's rollouts; returns reduced metrics.

        `timesteps["progress"]`, the share of the budget used, drives the decays.

        Raises:
            TrainingError: there is no rollout, or a loss or gradient is not finite.
        """
        self._check_is_built()
        if batch is not None or training_data is None:
            raise TypeError("MAPPOTorchLearner.update trains on rollouts given as episodes")
        training_data.validate()
        training_data.solve_refs()
        rollouts = training_data.episodes
        if not rollouts:
            raise TrainingError("the learner got no rollout: no runner sampled any")
        self._weights_seq_no += 1
        progress = float((timesteps or {}).get("progress", 0.0))
        found = self._updater().run(
            Rollout.concatenate(rollouts), progress, int(self._weights_seq_no)
        )
        for name, value in found.items():
            self.metrics.log_value((CRITIC, name), value, window=1)
        return self.metrics.reduce()

    def _updater(self) -> Update:
        if self._update_rollouts is None:
            modules = {actor.name: self._unwrapped(actor.name) for actor in self.plan.actors}
            critic = self._unwrapped(CRITIC)
            self._update_rollouts = Update(
                self.plan,
                self.settings,
                {name: module.actor for name, module in modules.items()},
                critic.critic,
                {name: self.get_optimizer(name) for name in (*modules, CRITIC)},
                self._mean_of_learners if self.config.num_learners > 1 else alone,
            )
        return self._update_rollouts

    def _unwrapped(self, name: str) -> Any:
        module: ActorModule | CentralCriticModule = self.module[name].unwrapped()
        return module

    def _mean_of_learners(self, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        count: int = self.config.num_learners
        return total / count

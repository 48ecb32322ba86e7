"""RLlib's view of the networks: thin adapters, no parameters of their own."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from trainers.mappo.plan import ActorPlan, TeamPlan


class ActorModule(TorchRLModule):
    """One actor. model_config: actor (its ActorPlan)."""

    def setup(self) -> None:
        plan: ActorPlan = self.model_config["actor"]
        self.actor = plan.build()

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Act on batch["rows"] with batch["noise"], or by the mode where it has none."""
        with torch.no_grad():
            return self.actor.act(
                batch["rows"], batch.get("noise"), batch.get("masks"), batch.get("memory")
            )._asdict()


class CentralCriticModule(TorchRLModule):
    """The critic, built on learners alone. model_config: plan (a TeamPlan), config."""

    def setup(self) -> None:
        plan: TeamPlan = self.model_config["plan"]
        self.critic = plan.build_critic(self.model_config["config"])

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        return {"values": self.critic(batch["states"])}

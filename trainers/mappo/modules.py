"""RLlib's view of the networks: thin adapters, no parameters of their own."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from policies.critic import CentralCritic
from policies.sequential import SequentialPolicy

POLICY = "policy"
CRITIC = "critic"


class SequentialPolicyModule(TorchRLModule):
    """The actor. model_config: layout, config (PolicyConfig), seed."""

    def setup(self) -> None:
        options = self.model_config
        self.policy = SequentialPolicy(options["layout"], options["config"], options["seed"])

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        evaluated = self.policy.evaluate(batch["rows"], batch["latent"])
        return evaluated._asdict()

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Act on batch["rows"] with batch["noise"], or by the mode where it has none."""
        with torch.no_grad():
            return self.policy.act(batch["rows"], batch.get("noise"))._asdict()


class CentralCriticModule(TorchRLModule):
    """The critic, built on learners alone. model_config: state_width, agents, config, seed."""

    def setup(self) -> None:
        options = self.model_config
        self.critic = CentralCritic(
            options["state_width"], options["agents"], options["config"], options["seed"]
        )

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        return {"values": self.critic(batch["states"])}

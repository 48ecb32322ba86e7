"""The MAPPO update: one critic over the state, one sequential actor, lockstep minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from torch import Tensor
from torch.nn import functional

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from policies.critic import CentralCritic
from policies.gae import generalized_advantages
from trainers.mappo.modules import CRITIC, POLICY
from trainers.mappo.rollout import Rollout

Batch = dict[str, dict[str, Tensor]]

_ADVANTAGE_EPSILON = 1e-8
_KL_TOLERANCE = 1.5  # Spinning Up's PPO: an epoch may overshoot its target by half


class MAPPOTorchLearner(PPOTorchLearner):
    """Trains on `Rollout`s given as episodes. `config.mappo` is the project's MappoConfig.

    RLlib's own learner connectors and minibatch iterator are not used: the first
    build Python lists per row, the second gives modules of fewer rows more epochs.
    Here both modules see the same environment rows in the same order, learners
    draw equally many minibatches, and what is averaged over a batch (moments of
    returns and advantages, KL) is averaged over all learners.
    """

    @property
    def settings(self) -> MappoConfig:
        settings: MappoConfig = self.config.mappo
        return settings

    def build(self) -> None:
        if self.config.num_learners:
            torch.set_num_threads(1)  # learners are parallel already
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self._module[module_id])
        optimizer = torch.optim.Adam(
            parameters, lr=self._base_rate(module_id), eps=self.settings.adam_epsilon, fused=True
        )
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def _base_rate(self, module_id: str) -> float:
        critic_rate = self.settings.critic_learning_rate
        if module_id == CRITIC and critic_rate is not None:
            return critic_rate
        return self.settings.learning_rate

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
        self._set_rates(progress)
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        rows, summary = self._prepare(Rollout.concatenate(rollouts))
        epochs = self._run_epochs(rows)
        self._report(summary | {"epochs": float(epochs), "progress": progress})
        return self.metrics.reduce()

    def _set_rates(self, progress: float) -> None:
        left = max(0.0, 1.0 - progress)
        rate_share = left if self.settings.learning_rate_decay == "linear" else 1.0
        entropy_share = left if self.settings.entropy_decay == "linear" else 1.0
        self._entropy_coefficient = self.settings.entropy_coefficient * entropy_share
        for module_id, names in self._module_optimizers.items():
            for name in names:
                self._set_optimizer_lr(
                    self._named_optimizers[name], self._base_rate(module_id) * rate_share
                )

    # ---------------------------------------------------------------- the batch

    def _critic(self) -> CentralCritic:
        critic: CentralCritic = self.module[CRITIC].unwrapped().critic
        return critic

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> tuple[Batch, dict[str, float]]:
        """Values, advantages and normalised targets; batches of T x N rows per module."""
        critic, settings = self._critic(), self.settings
        states, rewards = self._tensor(rollout.states), self._tensor(rollout.rewards)
        terminations = self._tensor(rollout.terminations)
        truncations = self._tensor(rollout.truncations)
        values = critic.values(states)
        next_values = torch.cat(
            [values[1:], critic.values(self._tensor(rollout.last_states))[None]]
        )
        if len(rollout.cut_index):
            t, n = self._tensor(rollout.cut_index).unbind(1)
            next_values[t, n] = critic.values(self._tensor(rollout.cut_states))
        advantages = generalized_advantages(
            rewards,
            values,
            next_values,
            terminations,
            truncations,
            settings.gamma,
            settings.gae_lambda,
        )
        returns = advantages + values
        summary = {"explained_variance": _explained_variance(values, returns)}
        if settings.critic.value_norm:
            updates = settings.epochs * settings.minibatches
            critic.norm.update(*self._shared_moments(returns), updates)
            returns = critic.norm.normalize(returns)
        if settings.normalize_advantages:
            mean, variance = self._shared_moments(advantages)
            deviation = variance.sqrt() + _ADVANTAGE_EPSILON
            advantages = (advantages - mean.float()) / deviation.float()
        policy = {
            name: self._tensor(getattr(rollout, name)).flatten(0, 1)
            for name in ("rows", "latent", "log_prob", "targets")
        }
        policy["advantages"] = advantages.flatten(0, 1)
        critic_rows = {"states": states.flatten(0, 1), "returns": returns.flatten(0, 1)}
        return {CRITIC: critic_rows, POLICY: policy}, summary

    def _shared_moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over T and N, and over all learners: float64 [A] each."""
        wide = values.double().flatten(0, 1)
        moments = torch.stack([wide.mean(0), (wide * wide).mean(0)])
        mean, square = self._averaged(moments)
        return mean, (square - mean * mean).clamp(min=0.0)

    def _averaged(self, values: Tensor) -> Tensor:
        """The mean of `values` over all learners."""
        if self.config.num_learners > 1:
            torch.distributed.all_reduce(values)
            values = values / self.config.num_learners
        return values

    # ---------------------------------------------------------------- the update

    def _run_epochs(self, rows: Batch) -> int:
        """Train until the epochs are over or the policy has moved past `target_kl`."""
        count = len(rows[CRITIC]["states"])
        generator = np.random.default_rng((self.settings.seed, self._weights_seq_no))
        for epoch in range(self.settings.epochs):
            before = self._sums.get("kl", torch.zeros(()))
            for minibatch in _lockstep(rows, generator.permutation(count), self.settings):
                self._update(minibatch)
                self._steps += 1
            if self.settings.target_kl is not None:
                kl = (self._sums["kl"] - before) / self.settings.minibatches
                if self._averaged(kl.clone()).item() > _KL_TOLERANCE * self.settings.target_kl:
                    return epoch + 1
        return self.settings.epochs

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Tensor], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        if module_id == CRITIC:
            return self._critic_loss(batch, fwd_out["values"])
        return self._policy_loss(batch, fwd_out)

    def _critic_loss(self, batch: dict[str, Tensor], values: Tensor) -> Tensor:
        delta = self.settings.critic.huber_delta
        loss = functional.huber_loss(values, batch["returns"], delta=delta)
        self._add("value_loss", loss)
        return self.settings.value_coefficient * loss

    def _policy_loss(self, batch: dict[str, Tensor], out: dict[str, Tensor]) -> Tensor:
        """The clipped surrogate of each agent (Schulman et al., 2017), averaged over agents."""
        clip = self.settings.clip
        log_ratio = out["log_prob"] - batch["log_prob"]
        ratio = torch.exp(log_ratio)
        advantages = batch["advantages"]
        surrogate = torch.min(
            ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages
        ).mean()
        entropy = out["entropy"].mean()
        loss = -surrogate - self._entropy_coefficient * entropy
        if out["supervised"].shape[1]:
            squared = _masked_squared_error(out["supervised"], batch["targets"])
            loss = loss + self.settings.supervised_coefficient * squared
            self._add("supervised_loss", squared)
        with torch.no_grad():
            self._add("policy_loss", -surrogate)
            self._add("entropy", entropy)
            self._add("kl", (ratio - 1.0 - log_ratio).mean())
            self._add("clip_fraction", ((ratio - 1.0).abs() > clip).float().mean())
        return loss

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Any, Tensor]
    ) -> dict[Any, Tensor]:
        """Clip the global norm of one module's gradients."""
        gradients = list(module_gradients_dict.values())
        norm = torch.nn.utils.get_total_norm(gradients)
        parameters = [self._params[ref] for ref in module_gradients_dict]
        torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, norm)
        self._add(f"grad_norm_{module_id}", norm)
        return module_gradients_dict

    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """Step the optimizers. Non-finite gradients are never zeroed: `_report` raises."""
        for optimizer in self._optimizer_parameters:
            optimizer.step()

    def _add(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _report(self, summary: dict[str, float]) -> None:
        """Log means over minibatches, averaged over learners by RLlib's aggregation."""
        found = summary | {name: total.item() / self._steps for name, total in self._sums.items()}
        for name, value in found.items():
            if not np.isfinite(value):
                raise TrainingError(
                    f"{name}={value} in update {self._weights_seq_no}: expected a finite number; "
                    "lower mappo.learning_rate or check the scale of rewards and observations"
                )
            self.metrics.log_value((POLICY, name), value, window=1)


def _lockstep(
    rows: Batch, order: np.ndarray[Any, Any], settings: MappoConfig
) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Minibatches of the same rows for every module, modules in sorted order."""
    for chunk in np.array_split(order, settings.minibatches):
        index = torch.from_numpy(chunk)
        yield {
            module_id: {name: values[index] for name, values in rows[module_id].items()}
            for module_id in sorted(rows)
        }


def _masked_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over the targets that are known (not NaN)."""
    known = torch.isfinite(targets)
    error = torch.where(known, predictions - torch.nan_to_num(targets), 0.0)
    return (error * error).sum() / known.sum().clamp(min=1)


def _explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns), over all agents; 0 for constant returns."""
    variance = returns.var().item()
    return 0.0 if variance == 0.0 else 1.0 - (returns - values).var().item() / variance

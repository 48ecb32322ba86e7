"""The MAPPO update: several actors, one critic over the state, minibatches in lockstep.

Runs without RLlib: rollouts in, steps of the optimizers done, figures out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from policies.actor import Actor, Evaluated
from policies.critic import Critic
from policies.inputs import Inputs
from trainers.mappo.batch import MEMORY, ROWS, STATES, Batch, Batches, Rows
from trainers.mappo.plan import CRITIC, TeamPlan
from trainers.mappo.rollout import Rollout

P = ParamSpec("P")
R = TypeVar("R")

_KL_TOLERANCE = 1.5  # Spinning Up's PPO: an epoch may overshoot its target by half


def alone(values: Tensor) -> Tensor:
    """The mean over learners where there is one."""
    return values


def build_optimizer(name: str, parameters: list[Tensor], settings: MappoConfig) -> torch.optim.Adam:
    """Adam for the module `name`."""
    return torch.optim.Adam(
        parameters, lr=base_rate(name, settings), eps=settings.adam_epsilon, fused=True
    )


def build_update(plan: TeamPlan, settings: MappoConfig, device: torch.device) -> Update:
    """New actors, critic and optimizers of `plan` on `device`: training without RLlib."""
    actors = {actor.name: actor.build().to(device) for actor in plan.actors}
    critic = plan.build_critic(settings).to(device)
    modules: dict[str, torch.nn.Module] = {CRITIC: critic, **actors}
    optimizers = {
        name: build_optimizer(name, list(module.parameters()), settings)
        for name, module in modules.items()
    }
    return Update(plan, settings, actors, critic, optimizers)


def base_rate(name: str, settings: MappoConfig) -> float:
    """The learning rate of the module `name` before any decay."""
    if name == CRITIC and settings.critic_learning_rate is not None:
        return settings.critic_learning_rate
    return settings.learning_rate


class Update:
    """All epochs over one iteration's rollouts.

    averaged: the mean of a tensor over all learners. Learners draw equally many
    minibatches, and what is averaged over a batch (moments of returns and
    advantages, gradients, KL) is averaged over all of them, so that their weights
    stay the same.
    """

    def __init__(
        self,
        plan: TeamPlan,
        settings: MappoConfig,
        actors: Mapping[str, Actor],
        critic: Critic,
        optimizers: Mapping[str, torch.optim.Optimizer],
        averaged: Callable[[Tensor], Tensor] = alone,
    ) -> None:
        self.plan = plan
        self.settings = settings
        self.actors = actors
        self.critic = critic
        self.optimizers = optimizers
        self.batches = Batches(plan, settings, actors, critic, averaged)
        self._averaged = averaged
        self._modules: dict[str, torch.nn.Module] = {CRITIC: critic, **actors}
        self._parameters = {
            name: [p for p in self._modules[name].parameters() if p.requires_grad]
            for name in sorted(self._modules)
        }
        self._device = next(critic.parameters()).device
        self._evaluate = {name: self._compiled(actor.evaluate) for name, actor in actors.items()}
        self._value = self._compiled(critic.trained)
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._entropy_coefficient = settings.entropy_coefficient

    def _compiled(self, function: Callable[P, R]) -> Callable[P, R]:
        if not self.settings.compile:
            return function
        return torch.compile(function)

    def _precision(self) -> AbstractContextManager[None]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def run(self, rollout: Rollout, progress: float, number: int) -> dict[str, float]:
        """Train on `rollout`; returns means over minibatches, by name.

        progress: the share of the budget used, which drives the decays. number: of
        this update in the run, which seeds the order of rows.

        Raises:
            TrainingError: a loss, gradient or weight is not finite.
        """
        self._set_rates(progress)
        self._sums, self._steps = {}, 0
        batch, found = self.batches.prepare(rollout)
        if self.settings.precision != "float32":
            self._judge_anew(batch)
        found["epochs"] = float(self._run_epochs(batch, number))
        found["progress"] = progress
        self._take_in(batch)
        return self._figures(found, number)

    def _set_rates(self, progress: float) -> None:
        left = max(0.0, 1.0 - progress)
        rate_share = left if self.settings.learning_rate_decay == "linear" else 1.0
        entropy_share = left if self.settings.entropy_decay == "linear" else 1.0
        self._entropy_coefficient = self.settings.entropy_coefficient * entropy_share
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = base_rate(name, self.settings) * rate_share

    @torch.no_grad()
    def _judge_anew(self, batch: Batch) -> None:
        """Replace the recorded log-probabilities by those of the learner's own precision.

        Runners act in single precision. In bfloat16 the same weights give a ratio that is
        off by up to the clip before the first step.
        """
        everything = torch.arange(batch.units, device=self._device)
        for name, actor in self.actors.items():
            in_time = actor.memory_width > 0
            found = self._judge(name, batch.draw(name, everything, in_time)).log_prob.float()
            recorded = batch.rows[name]["log_prob"]
            batch.rows[name]["log_prob"] = (
                found.transpose(0, 1) if in_time else found.view_as(recorded)
            )

    def _take_in(self, batch: Batch) -> None:
        """Move the moments by which rows are read; runners act by them from now on."""
        for name, part in batch.rows.items():
            inputs = getattr(self._modules[name], "inputs", None)
            if not (isinstance(inputs, Inputs) and inputs.running):
                continue
            rows = part[STATES if name == CRITIC else ROWS].flatten(0, -2)
            alive = None if name == CRITIC else part.get("alive")
            weight = None
            if alive is not None:
                each = rows.shape[-1] // alive.shape[-1]
                weight = alive.flatten(0, -2).repeat_interleave(each, dim=-1)
            inputs.update(self._averaged(inputs.sums(rows, weight)))

    # ---------------------------------------------------------------- the update

    def _run_epochs(self, batch: Batch, number: int) -> int:
        """Train until the epochs are over or the policies have moved past `target_kl`."""
        settings = self.settings
        generator = np.random.default_rng((settings.seed, number))
        for epoch in range(settings.epochs):
            before = self._kl()
            for index in self._minibatches(batch, generator):
                self._minibatch(batch, index)
            if settings.target_kl is not None:
                kl = (self._kl() - before) / settings.minibatches
                if self._averaged(kl).item() > _KL_TOLERANCE * settings.target_kl:
                    return epoch + 1
        return settings.epochs

    def _kl(self) -> Tensor:
        """The sum over minibatches so far of the actors' mean approximate KL."""
        found = [value for name, value in self._sums.items() if name.split("/")[0] == "kl"]
        return torch.stack(found).mean() if found else torch.zeros((), device=self._device)

    def _minibatches(self, batch: Batch, generator: np.random.Generator) -> Iterator[Tensor]:
        order = generator.permutation(batch.units)
        for chunk in np.array_split(order, self.settings.minibatches):
            yield torch.from_numpy(chunk).to(self._device)

    def _minibatch(self, batch: Batch, index: Tensor) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss = self._critic_loss(batch.draw(CRITIC, index, in_time=False))
        for name, actor in self.actors.items():
            rows = batch.draw(name, index, in_time=actor.memory_width > 0)
            loss = loss + self._actor_loss(name, rows)
        loss.backward()
        self._average_gradients()
        for name, parameters in self._parameters.items():
            self._clip(name, parameters)
            self.optimizers[name].step()
        self._steps += 1

    def _average_gradients(self) -> None:
        if self._averaged is alone:
            return
        parameters = [p for part in self._parameters.values() for p in part]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self._averaged(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, mean in zip(
            parameters, flat.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = mean.view_as(parameter)

    def _clip(self, name: str, parameters: Sequence[Tensor]) -> None:
        """Clip the global norm of one module's gradients."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_grad_norm, norm)
        self._add(f"grad_norm_{name}", norm)

    def _critic_loss(self, rows: Rows) -> Tensor:
        with self._precision():
            values = self._value(rows["states"])
        delta = self.settings.critic.huber_delta
        error = functional.huber_loss(
            values.float(), rows["returns"], delta=delta, reduction="none"
        )
        loss = _mean(error, rows.get("alive"))
        self._add("value_loss", loss)
        return self.settings.value_coefficient * loss

    def _actor_loss(self, name: str, rows: Rows) -> Tensor:
        """The clipped surrogate of each agent (Schulman et al., 2017), averaged over agents."""
        clip = self.settings.clip
        out = self._judge(name, rows)
        alive = rows.get("alive")
        log_ratio = out.log_prob.float() - rows["log_prob"]
        ratio = torch.exp(log_ratio)
        advantages = rows["advantages"]
        surrogate = _mean(
            torch.min(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages), alive
        )
        entropy = _mean(out.entropy.float(), alive)
        loss = -surrogate - self._entropy_coefficient * entropy
        tail = "" if len(self.plan.actors) == 1 else f"/{name}"
        if out.supervised.shape[-1]:
            squared = _masked_squared_error(out.supervised.float(), rows["targets"])
            loss = loss + self.settings.supervised_coefficient * squared
            self._add(f"supervised_loss{tail}", squared)
        for what, values in (out.auxiliary or {}).items():
            mean = values.float().mean()
            loss = loss + mean
            self._add(f"{what}{tail}", mean)
        with torch.no_grad():
            self._add(f"policy_loss{tail}", -surrogate)
            self._add(f"entropy{tail}", entropy)
            self._add(f"kl{tail}", _mean(ratio - 1.0 - log_ratio, alive))
            clipped = ((ratio - 1.0).abs() > clip).float()
            self._add(f"clip_fraction{tail}", _mean(clipped, alive))
        return loss

    def _judge(self, name: str, rows: Rows) -> Evaluated:
        """What the decisions in `rows` are worth under the present weights."""
        with self._precision():
            return self._evaluate[name](
                rows["rows"],
                rows["latent"],
                rows.get("masks"),
                rows.get(MEMORY),
                rows.get("begins"),
            )

    def _add(self, name: str, value: Tensor) -> None:
        value = value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _figures(self, found: dict[str, float], number: int) -> dict[str, float]:
        """`found` and the means over minibatches; all of them and all weights must be finite."""
        names = list(self._sums)
        means = torch.stack([self._sums[name].float() for name in names]) / self._steps
        figures = found | dict(zip(names, means.tolist(), strict=True))
        self._check_finite(figures, number)
        return figures

    def _check_finite(self, figures: Mapping[str, float], number: int) -> None:
        """Stop where a figure is not finite, or weights are that no loss has seen since."""
        wrong = [
            f"{name}={value} in update {number}: expected a finite number"
            for name, value in figures.items()
            if not np.isfinite(value)
        ]
        spoilt = [name for name, module in self._modules.items() if not _finite(module)]
        if not (wrong or spoilt):
            return
        weights = f"the weights of {' and '.join(map(repr, spoilt))} are not finite"
        raise TrainingError(
            f"{wrong[0] if wrong else f'{weights} after update {number}'}; lower "
            "mappo.learning_rate or check the scale of rewards and observations"
            + (f" ({weights})" if wrong and spoilt else "")
        )


def _finite(module: torch.nn.Module) -> bool:
    """Whether all weights and statistics of the module are finite."""
    kept = module.state_dict().values()
    values = [v.detach() for v in kept if v.is_floating_point() and v.numel()]
    largest = torch.nn.utils.get_total_norm(values, norm_type=math.inf)
    return bool(torch.isfinite(largest))


def _mean(values: Tensor, alive: Tensor | None) -> Tensor:
    """The mean over decisions of agents that were alive; `alive` None is all."""
    if alive is None:
        return values.mean()
    mean: Tensor = torch.where(alive, values, 0.0).sum() / alive.sum().clamp(min=1)
    return mean


def _masked_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over the targets that are known (not NaN)."""
    known = torch.isfinite(targets)
    error = torch.where(known, predictions - torch.nan_to_num(targets), 0.0)
    return (error * error).sum() / known.sum().clamp(min=1)

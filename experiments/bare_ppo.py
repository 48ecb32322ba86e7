"""MAPPO on the toy team in bare torch: the loop that a framework is measured against.

One file, no ray, nothing of our trainer: a shared actor or one for each agent, a central
critic over all observations with a value for each agent, generalised advantages over
whole arrays, the clipped surrogate, fused Adam. Written to be fast and to be read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.contenders import Sharing, Training
from experiments.toy_team import AGENTS, CHOICES, COLUMNS, make_batched

NUM_ENVS = 128
_HUBER = 10.0
_EPSILON = 1e-8


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int, gain: float) -> nn.Sequential:
    """Linear and tanh by turns, orthogonal weights; `gain` is the last layer's."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain if layer is layers[-1] else math.sqrt(2.0))
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class Actors(nn.Module):
    """Logits [N, agents, choices] of observations [N, agents, columns]."""

    def __init__(self, sharing: Sharing, hidden: tuple[int, ...]) -> None:
        super().__init__()
        count = 1 if sharing == "shared" else AGENTS
        self.nets = nn.ModuleList(mlp(COLUMNS, hidden, CHOICES, 0.01) for _ in range(count))

    def forward(self, seen: Tensor) -> Tensor:
        if len(self.nets) == 1:
            logits: Tensor = self.nets[0](seen)
            return logits
        return torch.stack([net(seen[:, k]) for k, net in enumerate(self.nets)], dim=1)


class Batch(NamedTuple):
    """An iteration's rows, T x N of them: each field [T, N, ...], or [T x N, ...] flattened."""

    seen: Tensor  # [..., agents, columns]
    choices: Tensor  # int64 [..., agents]
    log_prob: Tensor  # [..., agents]
    advantages: Tensor  # [..., agents]
    returns: Tensor  # [..., agents]


class Cut(NamedTuple):
    """Environments whose episodes were cut at one step, and what was seen then."""

    step: int
    envs: Tensor  # int64 [M]
    rows: Tensor  # [M, agents x columns]


class BarePPO:
    """The contender: `iterate` samples and learns, `sample` samples alone."""

    def __init__(
        self, sharing: Sharing, training: Training | None = None, num_envs: int = NUM_ENVS
    ) -> None:
        self.training = training = training or Training()
        self.length = training.env_steps // num_envs
        torch.manual_seed(training.seed)
        torch.set_num_threads(1)  # networks of this size gain nothing by a second
        self.env = make_batched(num_envs, training.seed)
        self.env.reset()
        self.actors = Actors(sharing, training.hidden)
        self.critic = mlp(AGENTS * COLUMNS, training.hidden, AGENTS, 1.0)
        self.optimizers = [
            torch.optim.Adam(
                net.parameters(), lr=training.learning_rate, eps=training.adam_epsilon, fused=True
            )
            for net in (self.actors, self.critic)
        ]
        self.reward = 0.0  # mean of the last rollout, a step and an agent
        shape = (self.length, num_envs, AGENTS)
        self._seen = np.empty((*shape, COLUMNS), np.float32)
        self._rewards = np.empty(shape, np.float32)
        self._ended, self._died = np.empty((2, *shape), np.bool_)

    def iterate(self) -> int:
        """One iteration; returns its environment steps."""
        self.learn(self._batch(*self._rollout()))
        return self.training.env_steps

    def sample(self) -> int:
        """A rollout that nothing is learnt from; returns its environment steps."""
        self._rollout()
        return self.training.env_steps

    @torch.no_grad()
    def _rollout(self) -> tuple[Tensor, Tensor, list[Cut]]:
        """Choices and their log probabilities [T, N, agents], and where episodes were cut.

        What was seen and earned is left in the buffers.
        """
        env, chosen, log_probs, cuts = self.env, [], [], []
        for t in range(self.length):
            self._seen[t] = env.rows.reshape(env.num_envs, AGENTS, COLUMNS)
            logits = functional.log_softmax(self.actors(torch.from_numpy(self._seen[t])), -1)
            # Gumbel's trick: the largest of logits and noise is a draw from their softmax.
            noise = torch.empty_like(logits).exponential_().log_()
            choices = (logits - noise).argmax(-1, keepdim=True)
            chosen.append(choices.squeeze(-1))
            log_probs.append(logits.gather(-1, choices).squeeze(-1))
            env.step(chosen[-1].float().numpy())
            self._rewards[t] = env.rewards
            self._died[t] = env.terminations
            self._ended[t] = env.terminations | env.truncations
            cut = np.flatnonzero(env.truncations.any(axis=1))
            if cut.size:
                cuts.append(Cut(t, torch.from_numpy(cut), torch.from_numpy(env.rows[cut])))
            if env.ended.any():
                env.reset(env.ended.copy())
        self.reward = float(self._rewards.mean())
        return torch.stack(chosen), torch.stack(log_probs), cuts

    @torch.no_grad()
    def _batch(self, choices: Tensor, log_prob: Tensor, cuts: list[Cut]) -> Batch:
        """The rollout with advantages and what the critic is to learn: [T, N, ...]."""
        seen = torch.from_numpy(self._seen)
        last = torch.from_numpy(self.env.rows)
        values = self.critic(torch.cat([seen.flatten(2), last[None]]))
        next_values = values[1:].clone()
        for cut in cuts:  # the value of what was cut, not of the episode after it
            next_values[cut.step, cut.envs] = self.critic(cut.rows)
        advantages = self._advantages(values[:-1], next_values)
        return Batch(seen, choices, log_prob, advantages, advantages + values[:-1])

    def _advantages(self, values: Tensor, next_values: Tensor) -> Tensor:
        """Schulman et al. (2016), all environments and agents at once: [T, N, agents]."""
        training = self.training
        goes_on = torch.from_numpy(~self._ended).float()
        rewards, living = torch.from_numpy(self._rewards), torch.from_numpy(~self._died).float()
        delta = rewards + training.gamma * living * next_values - values
        decay = training.gamma * training.gae_lambda * goes_on
        advantages, running = torch.empty_like(delta), torch.zeros_like(delta[0])
        for t in range(self.length - 1, -1, -1):
            running = torch.addcmul(delta[t], decay[t], running)
            advantages[t] = running
        return advantages

    def learn(self, batch: Batch) -> None:
        """All epochs over one rollout."""
        training = self.training
        deviation, mean = torch.std_mean(batch.advantages, dim=(0, 1))
        normal = (batch.advantages - mean) / (deviation + _EPSILON)
        rows = Batch(*(part.flatten(0, 1) for part in batch._replace(advantages=normal)))
        for _ in range(training.epochs):
            for index in torch.randperm(len(rows.seen)).chunk(training.minibatches):
                self._step(Batch(*(part[index] for part in rows)))

    def _step(self, batch: Batch) -> None:
        training = self.training
        logits = functional.log_softmax(self.actors(batch.seen), -1)
        log_prob = logits.gather(-1, batch.choices.unsqueeze(-1)).squeeze(-1)
        ratio = torch.exp(log_prob - batch.log_prob)
        clipped = ratio.clamp(1.0 - training.clip, 1.0 + training.clip)
        surrogate = torch.min(ratio * batch.advantages, clipped * batch.advantages).mean()
        entropy = -(logits.exp() * logits).sum(-1).mean()
        values = self.critic(batch.seen.flatten(1))
        error = functional.huber_loss(values, batch.returns, delta=_HUBER)
        loss = (
            training.value_coefficient * error - surrogate - training.entropy_coefficient * entropy
        )
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for net, optimizer in zip((self.actors, self.critic), self.optimizers, strict=True):
            nn.utils.clip_grad_norm_(net.parameters(), training.max_grad_norm)
            optimizer.step()

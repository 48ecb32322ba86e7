"""The sequential actor: a team that acts in order, each agent on what those before it chose.

The joint policy factorises along the agents' order, pi(a | s) = prod_k
pi_k(a_k | o_k, a_<k), as in the auto-regressive policies of Wen et al.,
"Multi-Agent Reinforcement Learning is a Sequence Modeling Problem" (2022),
with a network of its own per agent (policies.sequential_networks). `act` with noise None is
the deterministic forward that exports, and so is `uncertainty`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import TrainingError
from policies.actor import Acted, Evaluated
from policies.distributions import (
    forbid,
    gaussian_entropy,
    gaussian_log_density,
    log_sigma_between,
)
from policies.dropout import (
    Uncertainty,
    categorical_uncertainty,
    gaussian_uncertainty,
)
from policies.networks import activate
from policies.sequential_networks import SequentialNetworks


def choose(logits: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(latent, action, log_prob, encoded) of a choice by logits [N, C]; None: the likeliest."""
    log_p = functional.log_softmax(logits, dim=1)
    index = (log_p if noise is None else log_p + noise).argmax(dim=1)
    chosen = functional.one_hot(index, logits.shape[1]).to(log_p.dtype)
    latent = index.to(log_p.dtype).unsqueeze(1)
    return latent, latent, (log_p * chosen).sum(1), chosen


def draw(
    mean: Tensor, log_sigma: Tensor, stochastic: Tensor, noise: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(latent, action, log_prob, encoded) of squashed Gaussians [N, C]; None: their means.

    stochastic: [C], 1 for each component that is sampled, 0 for a supervised one.
    """
    stochastic = stochastic.to(mean)
    spread = 0.0 if noise is None else noise * log_sigma.exp() * stochastic
    latent = mean + spread
    density = gaussian_log_density(latent, mean, log_sigma) * stochastic
    action = torch.sigmoid(latent)
    return latent, action, density.sum(1), action


class Step(NamedTuple):
    """One agent's part of a joint decision, for N rows.

    told: [N, ...], what its uncertainty is taken from. latent, action: [N, components or 1].
    log_prob: [N]. output: [N, ...], of its head, what is not allowed at the minimum; of a
    discrete agent it begins with the logits.
    """

    told: Tensor
    latent: Tensor
    action: Tensor
    log_prob: Tensor
    output: Tensor


def acted(steps: Sequence[Step]) -> Acted:
    """All agents' steps as one joint decision."""
    return Acted(
        torch.cat([step.latent for step in steps], 1),
        torch.cat([step.action for step in steps], 1),
        torch.stack([step.log_prob for step in steps], 1),
    )


class SequentialPolicy(SequentialNetworks):
    """One actor for a whole layer, over rows of `layout`.

    Rows are float32 [N, layout.row_width], already scaled to about [-1, 1];
    they are clipped at `config.input_clip`. Masks hold a flag for every choice of
    every discrete agent, in their order; where the layout names columns for them they are
    read off the rows. Nothing is remembered between steps.
    """

    @property
    def doubts(self) -> bool:
        """Whether there is an uncertainty: with dropout alone."""
        return self.bank is not None

    def act(
        self,
        rows: Tensor,
        noise: Tensor | None,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Acted:
        """Decide, agent by agent, for rows [N, row_width].

        `noise` [N, noise_width] (signals.noise) samples; None takes the mode:
        sigmoid(mu) and argmax.
        """
        self._check(masks, memory)
        first, _ = self.read(rows)
        decided = self.decide_all(first, noise, self.legal(rows, masks))
        return acted(decided)

    def decide_all(
        self, from_row: Tensor, noise: Tensor | None, masks: Tensor | None
    ) -> list[Step]:
        """The steps of all agents in turn; `told` is what an agent's first layer gave.

        from_row: as `read` gives it. masks: of all that is legal, the rows' own columns
        included.
        """
        up_weights = self.up_weights()
        choices: list[Tensor] = []
        steps: list[Step] = []
        for k in range(self.agents):
            values, output = self.output_of(k, from_row, choices, up_weights, masks)
            eps = None if noise is None else noise[:, self.layout.noise_slice(k)]
            latent, action, log_prob, encoded = self._decide(k, output, eps)
            choices.append(encoded)
            steps.append(Step(values, latent, action, log_prob, output))
        return steps

    def up_weights(self) -> Tensor:
        """What first layers make of earlier choices: [choice_width, agents, hidden]."""
        by_agent: Tensor = (self.choice_weight * self.choice_mask).unflatten(1, (self.agents, -1))
        return by_agent

    def output_of(
        self,
        k: int,
        from_row: Tensor,
        choices: Sequence[Tensor],
        up_weights: Tensor,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Agent k's (first layer's values, outputs), what is not allowed at the minimum.

        choices: encoded ones of all agents before it.
        """
        first = from_row[:, k]
        if choices:
            seen = torch.cat(list(choices), dim=1)
            first = first + seen @ up_weights[: seen.shape[1], k]
        values = activate(first, self.config.activation)
        return values, self._allowed(self._above(values, k), k, masks)

    def uncertainty(self, rows: Tensor, masks: Tensor | None = None) -> Uncertainty:
        """How far the bank's masks move each agent's decision; the decisions are the mode's.

        Rows are encoded once, whatever the number of samples. Deterministic: what is given
        for a row depends on the row and the bank alone. Takes samples x N rows of hidden
        units at once.

        Raises:
            TrainingError: this actor has no dropout.
        """
        if self.bank is None:
            raise TrainingError(
                "uncertainty of an actor without dropout: train it with policy.dropout.rate above 0"
            )
        self._check(masks, None)
        masks = self.legal(rows, masks)
        decided = self.decide_all(self.read(rows)[0], None, masks)
        return self.uncertainty_of(decided, masks)

    def uncertainty_of(self, decided: Sequence[Step], masks: Tensor | None) -> Uncertainty:
        """The uncertainty of what `decide_all` decided in mode, with a bank alone."""
        assert self.bank is not None  # for the type alone: `doubts` says so
        first = torch.stack([step.told for step in decided])
        outputs = self._sampled(first, self.bank, self._penalty(masks, first))
        logits = outputs if len(self.choosers) == self.agents else outputs[:, self.choosers]
        choices = zip(*(part.unbind(1) for part in categorical_uncertainty(logits)), strict=True)
        found = []
        for k, agent in enumerate(self.layout.agents):
            width = agent.encoded_width
            if k in self.table.mask_slices:
                mean, spread, entropy, shared = next(choices)
            else:
                means = outputs[:, k, :width]
                raw = self.raw_sigma[self.table.gaussian_slice(k)].unsqueeze(1).expand_as(means)
                if self.config.state_dependent_sigma:
                    raw = raw + outputs[:, k, width : 2 * width]
                mean, spread, entropy, shared = gaussian_uncertainty(means, self._log_sigma(raw))
            found.append((mean[:, :width], spread[:, :width], entropy, shared))
        parts = list(zip(*found, strict=True))
        return Uncertainty(
            torch.cat(parts[0], 1),
            torch.cat(parts[1], 1),
            torch.stack(parts[2], 1),
            torch.stack(parts[3], 1),
        )

    def _log_sigma(self, raw: Tensor) -> Tensor:
        return log_sigma_between(raw, self.config.min_sigma, self.config.max_sigma)

    def _allowed(self, output: Tensor, k: int, masks: Tensor | None) -> Tensor:
        """Agent k's outputs, what `masks` [N, mask_width] forbid it at the minimum."""
        if masks is None or k not in self.table.mask_slices:
            return output
        logits = output[:, : self.layout.agents[k].encoded_width]
        return forbid(logits, masks[:, self.table.mask_slices[k]])

    def _decide(
        self, k: int, output: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(latent, action, log_prob, encoded choice) of agent k from its head's outputs."""
        agent = self.layout.agents[k]
        if agent.kind == "discrete":
            return choose(output[:, : agent.encoded_width], noise)
        return draw(*self.gaussian_of(k, output), self.table.stochastic_of(k), noise)

    def gaussian_of(self, k: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log sigma) [N, components] of box agent k, from its head's outputs."""
        width = self.layout.agents[k].encoded_width
        mean = output[:, :width]
        raw = self.raw_sigma[self.table.gaussian_slice(k)].expand_as(mean)
        if self.config.state_dependent_sigma:
            raw = raw + output[:, width : 2 * width]
        return mean, self._log_sigma(raw)

    def evaluate(
        self,
        rows: Tensor,
        latent: Tensor,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Evaluated:
        """Log-probabilities, entropies and predictions of decisions taken earlier.

        rows [N, row_width]; latent [N, action_width] as `act` gave it. Parallel
        over agents, each on the recorded choices of those before it.
        """
        self._check(masks, memory, begins)
        masks = self.legal(rows, masks)
        first = self._first_given(rows, latent)
        outputs = self._outputs(first).to(rows.dtype)
        dropped = None
        if self.bank is not None and self.config.dropout.coefficient:
            dropped = self._outputs(first, self.bank.of_rows(len(rows))).to(rows.dtype)
        # Where autocast holds, too: in bfloat16 a log-probability of -5 is off by .03.
        with torch.autocast(outputs.device.type, enabled=False):
            evaluated = self._judge(outputs, latent, masks)
            auxiliary = self.reader.losses(self.inputs(rows))
            if dropped is not None:
                auxiliary["dropout_loss"] = self._divergence(outputs.detach(), dropped, masks)
        return evaluated._replace(auxiliary=auxiliary)

    def _divergence(self, outputs: Tensor, dropped: Tensor, masks: Tensor | None) -> Tensor:
        """Weighted mean over agents of KL(without a mask || with it) [N] (Liang et al., 2021)."""
        table = self.table
        total = outputs.new_zeros(len(outputs))
        if table.gaussians:
            raw = self.raw_sigma.detach().expand(len(outputs), -1)
            if self.config.state_dependent_sigma:
                raw = raw + outputs[:, table.sigma_index]
            apart = outputs[:, table.mean_index] - dropped[:, table.mean_index]
            total = (0.5 * (apart * torch.exp(-self._log_sigma(raw))) ** 2).sum(1)
        for k, columns in table.discrete_columns:
            log_p, log_q = (
                functional.log_softmax(self._allowed(part[:, columns], k, masks), dim=1)
                for part in (outputs, dropped)
            )
            total = total + (log_p.exp() * (log_p - log_q)).sum(1)
        return self.config.dropout.coefficient / self.agents * total

    def _judge(self, outputs: Tensor, latent: Tensor, masks: Tensor | None) -> Evaluated:
        """Heads' outputs [N, agents x outputs] and latents -> what `evaluate` gives."""
        table = self.table
        log_prob = outputs.new_zeros(outputs.shape[0], self.agents)
        entropy, supervised = log_prob, outputs.new_zeros(outputs.shape[0], 0)
        if table.gaussians:
            mean = outputs[:, table.mean_index]
            raw = self.raw_sigma.expand_as(mean)
            if self.config.state_dependent_sigma:
                raw = raw + outputs[:, table.sigma_index]
            log_sigma = self._log_sigma(raw)
            density = gaussian_log_density(latent[:, table.latent_index], mean, log_sigma)
            # A matrix [components, agents] sums components by agent, supervised ones left out.
            log_prob = density @ table.component_agent
            entropy = gaussian_entropy(log_sigma) @ table.component_agent
            supervised = torch.sigmoid(mean[:, table.supervised_index])
        for k, columns in table.discrete_columns:
            logits = self._allowed(outputs[:, columns], k, masks)
            log_p = functional.log_softmax(logits, dim=1)
            index = latent[:, self.layout.action_slice(k)].long()
            column = functional.one_hot(torch.tensor(k), self.agents).to(log_p)
            log_prob = log_prob + log_p.gather(1, index) * column
            entropy = entropy - (log_p.exp() * log_p).sum(1, keepdim=True) * column
        return Evaluated(log_prob, entropy, supervised)

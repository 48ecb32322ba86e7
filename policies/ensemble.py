"""Several trained policies of one layer as one: the average of their weights, or of what they say.

Averaged weights are one network, which decides as fast as any (Wortsman et al., "Model Soups",
2022): of checkpoints of one lineage, which lie in one basin. Networks that were trained from
different seeds do not, and their average is usually worse than each of them.

Averaged probabilities are a mixture of policies, each with its share: agent by agent the
members' distributions given what the ensemble itself has chosen so far. Members may differ in
all but their columns and actions. A choice's probability is the members' mean. A number's
Gaussian, in logits, has the mixture's mean and variance, so that in mode the mean of the means
decides. How far the members disagree is the uncertainty of the decision (Lakshminarayanan et
al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", 2017).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import gcd, lcm

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.errors import TrainingError
from policies.actor import Acted, Actor, Evaluated
from policies.distributions import gaussian_entropy, gaussian_log_density
from policies.dropout import Uncertainty, categorical_uncertainty, gaussian_uncertainty
from policies.heads import HeadTable, LegalChoices
from policies.sequential import SequentialPolicy, Step, acted, choose, draw

# Settings that say where a training begins and not what network it has.
_OF_THE_START = frozenset({"initial_sigma", "initial_temperature", "output_gain"})


class EnsemblePolicy(Actor):
    """A mixture of policies over rows of one layout; its face is `SequentialPolicy`'s.

    members: each once. counts: how often each counts; its share is that over their sum.

    Raises:
        TrainingError: fewer than two members, or their columns or actions differ.
    """

    shares: Tensor
    repeats: Tensor

    def __init__(self, members: Sequence[SequentialPolicy], counts: Sequence[int]) -> None:
        super().__init__()
        _check_counts(members, counts)
        self.layout = members[0].layout
        for number, member in enumerate(members):
            if member.layout.digest != self.layout.digest:
                raise TrainingError(
                    f"ensemble: member {number} (of '{member.layout.layer}') has other columns or "
                    f"actions than the first (of '{self.layout.layer}'): expected one layout"
                )
        self.members = nn.ModuleList(members)
        self.counts = tuple(counts)
        # A place for a log sigma beside each mean, whatever the members' heads have.
        self.table = HeadTable(self.layout, state_dependent_sigma=True)
        self.legal = LegalChoices(self.layout, self.table)
        self.mask_width, self.supervised = self.table.mask_width, self.table.supervised
        told = torch.tensor(counts, dtype=torch.float32)
        repeats = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        self.register_buffer("shares", told / told.sum(), persistent=False)
        self.register_buffer("repeats", repeats, persistent=False)

    @property
    def agents(self) -> int:
        return len(self.layout.agents)

    @property
    def doubts(self) -> bool:
        """Whether there is an uncertainty: there is, of how far members disagree."""
        return True

    @property
    def each(self) -> list[SequentialPolicy]:
        """The members, each once."""
        return [member for member in self.members if isinstance(member, SequentialPolicy)]

    def act(
        self,
        rows: Tensor,
        noise: Tensor | None,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Acted:
        """Decide, agent by agent, for rows [N, row_width]; see `SequentialPolicy.act`."""
        self._check(masks, memory)
        first, _ = self.read(rows)
        return acted(self.decide_all(first, noise, self.legal(rows, masks)))

    def read(self, rows: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """What each member's first layers make of rows, and what they expect of the next bar.

        Of regimes, [N, regimes], the mean over those members that say any.
        """
        first, regimes, shares = [], [], []
        for member, share in zip(self.each, self.shares.unbind(), strict=True):
            read, told = member.read(rows)
            first.append(read)
            if told is not None:
                regimes.append(told * share)
                shares.append(share)
        if not regimes:
            return first, None
        return first, torch.stack(regimes).sum(0) / torch.stack(shares).sum()

    def decide_all(
        self, from_row: Sequence[Tensor], noise: Tensor | None, masks: Tensor | None
    ) -> list[Step]:
        """The steps of all agents in turn; `told` are members' distributions of a choice."""
        up_weights = [member.up_weights() for member in self.each]
        choices: list[Tensor] = []
        steps: list[Step] = []
        for k in range(self.agents):
            told = self._said(k, from_row, choices, up_weights, masks)
            eps = None if noise is None else noise[:, self.layout.noise_slice(k)]
            mixed = self._mixed(k, told)
            latent, action, log_prob, encoded = self._decide(k, mixed, eps)
            choices.append(encoded)
            steps.append(Step(told, latent, action, log_prob, mixed))
        return steps

    def _said(
        self,
        k: int,
        from_row: Sequence[Tensor],
        choices: Sequence[Tensor],
        up_weights: Sequence[Tensor],
        masks: Tensor | None,
    ) -> Tensor:
        """Each member's distribution of agent k's choice; see `_distribution`."""
        found = []
        for member, first, weights in zip(self.each, from_row, up_weights, strict=True):
            _, output = member.output_of(k, first, choices, weights, masks)
            found.append(self._distribution(member, k, output))
        return torch.stack(found, dim=-1)

    def _distribution(self, member: SequentialPolicy, k: int, output: Tensor) -> Tensor:
        """[N, width]: log probabilities of choices, or means and log sigmas of numbers."""
        agent = self.layout.agents[k]
        if agent.kind == "discrete":
            return torch.log_softmax(output[:, : agent.encoded_width], dim=1)
        return torch.cat(member.gaussian_of(k, output), dim=1)

    def _mixed(self, k: int, told: Tensor) -> Tensor:
        """The mixture [N, width] of members' distributions [N, width, members]."""
        if self.layout.agents[k].kind == "discrete":
            return torch.logsumexp(told + self.shares.log(), dim=-1)
        means, log_sigmas = told.chunk(2, dim=1)
        mean = (means * self.shares).sum(-1)
        apart = means - mean.unsqueeze(-1)
        variance = ((torch.exp(2.0 * log_sigmas) + apart * apart) * self.shares).sum(-1)
        return torch.cat([mean, 0.5 * torch.log(variance)], dim=1)

    def _decide(
        self, k: int, output: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(latent, action, log_prob, encoded choice) of agent k from the mixture."""
        if self.layout.agents[k].kind == "discrete":
            return choose(output, noise)
        mean, log_sigma = output.chunk(2, dim=1)
        return draw(mean, log_sigma, self.table.stochastic_of(k), noise)

    def uncertainty(self, rows: Tensor, masks: Tensor | None = None) -> Uncertainty:
        """How far the members disagree on each agent's decision, members by their counts."""
        self._check(masks, None)
        masks = self.legal(rows, masks)
        decided = self.decide_all(self.read(rows)[0], None, masks)
        return self.uncertainty_of(decided, masks)

    def uncertainty_of(self, decided: Sequence[Step], masks: Tensor | None) -> Uncertainty:
        """The uncertainty of what `decide_all` decided in mode."""
        del masks  # what they forbid, members' distributions already do
        found = []
        for agent, step in zip(self.layout.agents, decided, strict=True):
            drawn = step.told.index_select(-1, self.repeats)
            if agent.kind == "discrete":
                found.append(categorical_uncertainty(drawn))
            else:
                found.append(gaussian_uncertainty(*drawn.chunk(2, dim=1)))
        mean, spread, entropy, information = zip(*found, strict=True)
        return Uncertainty(
            torch.cat(mean, 1),
            torch.cat(spread, 1),
            torch.stack(entropy, 1),
            torch.stack(information, 1),
        )

    def outputs_given(self, rows: Tensor, latent: Tensor, masks: Tensor | None = None) -> Tensor:
        """[N, agents, outputs] of the mixture, each agent's on the recorded choices before it.

        Log probabilities of choices, those that rows or `masks` forbid at the minimum, or means
        and log sigmas; padded with zeros.
        """
        masks = self.legal(rows, masks)
        given = [member.outputs_given(rows, latent) for member in self.each]
        found = []
        for k in range(self.agents):
            told = [
                self._distribution(member, k, member._allowed(outputs[:, k], k, masks))
                for member, outputs in zip(self.each, given, strict=True)
            ]
            mixed = self._mixed(k, torch.stack(told, dim=-1))
            found.append(functional.pad(mixed, (0, self.table.outputs - mixed.shape[1])))
        return torch.stack(found, dim=1)

    def evaluate(
        self,
        rows: Tensor,
        latent: Tensor,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Evaluated:
        """Log-probabilities and entropies of decisions taken earlier; see `Actor.evaluate`."""
        self._check(masks, memory, begins)
        outputs = self.outputs_given(rows, latent, masks)
        log_probs, entropies, supervised = [], [], [rows.new_zeros(rows.shape[0], 0)]
        for k, agent in enumerate(self.layout.agents):
            own, chosen = outputs[:, k], latent[:, self.layout.action_slice(k)]
            if agent.kind == "discrete":
                log_p = own[:, : agent.encoded_width]
                log_probs.append(log_p.gather(1, chosen.long()).squeeze(1))
                entropies.append(-(log_p.exp() * log_p).sum(1))
                continue
            mean, log_sigma = own[:, : 2 * agent.encoded_width].chunk(2, dim=1)
            sampled = self.table.stochastic_of(k)
            log_probs.append((gaussian_log_density(chosen, mean, log_sigma) * sampled).sum(1))
            entropies.append((gaussian_entropy(log_sigma) * sampled).sum(1))
            supervised.append(torch.sigmoid(mean[:, sampled == 0.0]))
        return Evaluated(
            torch.stack(log_probs, 1), torch.stack(entropies, 1), torch.cat(supervised, 1)
        )


LayerPolicy = SequentialPolicy | EnsemblePolicy  # what decides for a whole layer


def averaged_weights(
    members: Sequence[SequentialPolicy], counts: Sequence[int]
) -> SequentialPolicy:
    """One network whose weights are the members' mean, each counted as often as it is said.

    Running moments of inputs are averaged like weights.

    Raises:
        TrainingError: fewer than two members, or they are not of one architecture.
    """
    _check_counts(members, counts)
    first = members[0]
    for number, member in enumerate(members):
        differing = differing_architecture(first, member)
        if differing:
            raise TrainingError(
                f"ensemble by weights: member {number} is of another architecture than the first "
                f"({', '.join(differing)}): expected networks alike, as of one lineage; average "
                "probabilities instead (--by probabilities)"
            )
    out = copy.deepcopy(first)
    total = float(sum(counts))
    states = [member.state_dict() for member in members]
    with torch.no_grad():
        for name, value in out.state_dict().items():
            # In double precision, so that an average of equals is each of them to the bit.
            parts = zip(states, counts, strict=True)
            value.copy_(sum(state[name].double() * (count / total) for state, count in parts))
    return out


def differing_architecture(one: SequentialPolicy, other: SequentialPolicy) -> list[str]:
    """What of the two keeps their weights from being averaged: settings, or columns."""
    if one.layout.digest != other.layout.digest:
        return ["columns or actions"]
    mine, its = one.config.model_dump(mode="json"), other.config.model_dump(mode="json")
    return [
        f"policy.{key}={its[key]}, there {mine[key]}"
        for key in sorted(mine.keys() - _OF_THE_START)
        if mine[key] != its[key]
    ]


def mixture(policies: Sequence[LayerPolicy], counts: Sequence[int]) -> LayerPolicy:
    """The mixture of policies, those that are mixtures themselves taken apart.

    A single policy is given back as it is.
    """
    wholes = [sum(p.counts) if isinstance(p, EnsemblePolicy) else 1 for p in policies]
    common = lcm(*wholes)
    members: list[SequentialPolicy] = []
    told: list[int] = []
    for policy, count, whole in zip(policies, counts, wholes, strict=True):
        inner = policy.counts if isinstance(policy, EnsemblePolicy) else (1,)
        members += policy.each if isinstance(policy, EnsemblePolicy) else [policy]
        told += [count * one * (common // whole) for one in inner]
    shared = gcd(*told)
    if len(members) == 1:
        return members[0]
    return EnsemblePolicy(members, [count // shared for count in told])


def _check_counts(members: Sequence[nn.Module], counts: Sequence[int]) -> None:
    if len(members) < 2 or len(counts) != len(members) or min(counts) < 1:
        raise TrainingError(
            f"ensemble of {len(members)} members counted {list(counts)} times: expected two or "
            "more, each counted once at least"
        )

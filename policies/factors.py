"""From a head's outputs to choices: one block for each run of like factors of an agent.

Outputs, latents, noise and masks of an agent lie in the order of its factors, and
neighbours of one kind (and of as many categories) make one block, so that each
block is a slice of all four and is computed at once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from configs.actors import ActorConfig
from policies import distributions as law
from policies.actor import Evaluated
from signals.team import Factor, GroupLayout, slices


class Block(nn.Module):
    """Like factors of every agent. outputs: what it takes of an agent's head.

    latent_width, noise_width, mask_width: what it takes of an agent's numbers in
    those rows. Tensors given to it are [..., agents, width].
    """

    def __init__(self, outputs: int, latent_width: int, noise_width: int, mask_width: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.latent_width = latent_width
        self.noise_width = noise_width
        self.mask_width = mask_width

    @abstractmethod
    def decide(
        self, outputs: Tensor, noise: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(latent, actions, log_prob [..., agents]); noise None takes the mode."""

    @abstractmethod
    def judge(
        self, outputs: Tensor, latent: Tensor, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(log_prob, entropy) [..., agents] of a latent."""


class CategoricalBlock(Block):
    """`count` choices among `categories` each."""

    def __init__(self, count: int, categories: int) -> None:
        width = count * categories
        super().__init__(outputs=width, latent_width=count, noise_width=width, mask_width=width)
        self.shape = (count, categories)

    def decide(
        self, outputs: Tensor, noise: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = self._logits(outputs, allowed)
        index = law.categorical_draw(logits, None if noise is None else self._split(noise))
        log_prob = law.categorical_log_prob(law.categorical_log_p(logits), index)
        latent = index.to(logits.dtype)
        return latent, latent, self._over_factors(log_prob)

    def judge(
        self, outputs: Tensor, latent: Tensor, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        log_p = law.categorical_log_p(self._logits(outputs, allowed))
        log_prob = law.categorical_log_prob(log_p, latent.long())
        return self._over_factors(log_prob), self._over_factors(law.categorical_entropy(log_p))

    def _logits(self, outputs: Tensor, allowed: Tensor | None) -> Tensor:
        """[..., agents, count, categories]."""
        flags = None if allowed is None else self._split(allowed)
        return law.forbid(self._split(outputs), flags)

    def _split(self, values: Tensor) -> Tensor:
        split: Tensor = values.unflatten(-1, self.shape)
        return split

    def _over_factors(self, values: Tensor) -> Tensor:
        return values.squeeze(-1) if self.latent_width == 1 else values.sum(-1)


class GaussianBlock(Block):
    """`width` Gaussian numbers, as they are or squashed into (0, 1) by the logistic function.

    Sigma is a parameter of each of the `networks`, and with `state_dependent_sigma`
    the head adds to it.
    """

    def __init__(self, width: int, squashed: bool, config: ActorConfig, networks: int) -> None:
        heads = 2 if config.state_dependent_sigma else 1
        super().__init__(outputs=heads * width, latent_width=width, noise_width=width, mask_width=0)
        self.squashed = squashed
        self.bounds = (config.min_sigma, config.max_sigma)
        raw = law.raw_sigma_of(config.initial_sigma, *self.bounds)
        self.raw_sigma = nn.Parameter(torch.full((networks, width), raw))

    def decide(
        self, outputs: Tensor, noise: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_sigma = self._moments(outputs)
        latent = mean if noise is None else mean + noise * log_sigma.exp()
        actions = torch.sigmoid(latent) if self.squashed else latent
        return latent, actions, law.gaussian_log_density(latent, mean, log_sigma).sum(-1)

    def judge(
        self, outputs: Tensor, latent: Tensor, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        mean, log_sigma = self._moments(outputs)
        entropy = law.gaussian_entropy(log_sigma).sum(-1).expand(mean.shape[:-1])
        return law.gaussian_log_density(latent, mean, log_sigma).sum(-1), entropy

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [..., agents, width], and log sigma that broadcasts to it."""
        mean, added = outputs.split([self.latent_width, self.outputs - self.latent_width], dim=-1)
        raw = self.raw_sigma + added if added.shape[-1] else self.raw_sigma
        return mean, law.log_sigma_between(raw, *self.bounds)


class BetaBlock(Block):
    """`width` numbers in (0, 1), each Beta with one mode."""

    def __init__(self, width: int) -> None:
        super().__init__(outputs=2 * width, latent_width=width, noise_width=width, mask_width=0)

    def decide(
        self, outputs: Tensor, noise: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        above, below = law.beta_excess(outputs).chunk(2, dim=-1)
        alpha, beta = 1.0 + above, 1.0 + below
        if noise is None:
            latent = law.beta_mode(above, below)
        else:
            latent = law.beta_quantile(noise, alpha, beta)
        return latent, latent, law.beta_log_density(latent, alpha, beta).sum(-1)

    def judge(
        self, outputs: Tensor, latent: Tensor, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        alpha, beta = (1.0 + law.beta_excess(outputs)).chunk(2, dim=-1)
        log_prob = law.beta_log_density(latent, alpha, beta).sum(-1)
        return log_prob, law.beta_entropy(alpha, beta).sum(-1)


@dataclass(frozen=True)
class _Span:
    """Where a block lies among one agent's outputs, latents, noise and flags."""

    outputs: slice
    latent: slice
    noise: slice
    mask: slice


class FactorHead(nn.Module):
    """All factors of a group's agents, from the outputs of their heads.

    outputs: numbers that an agent's head gives.
    """

    def __init__(self, group: GroupLayout, config: ActorConfig, networks: int) -> None:
        super().__init__()
        self.group = group
        blocks = _blocks(group.factors, config, networks)
        self.blocks = nn.ModuleList(blocks)
        self.outputs = sum(block.outputs for block in blocks)
        self._spans = [
            _Span(*cuts)
            for cuts in zip(
                slices([block.outputs for block in blocks]),
                slices([block.latent_width for block in blocks]),
                slices([block.noise_width for block in blocks]),
                slices([block.mask_width for block in blocks]),
                strict=True,
            )
        ]

    def decide(
        self, outputs: Tensor, noise: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(latent, actions [B, action_width], log_prob [B, agents]).

        outputs [B, agents, outputs]; noise [B, noise_width]; masks [B, mask_width].
        """
        draws = None if noise is None else self._by_agent(noise)
        allowed = self._allowed(masks)
        parts = []
        for block, span in self._parts():
            drawn = None if draws is None else draws[..., span.noise]
            flags = None if allowed is None else allowed[..., span.mask]
            parts.append(block.decide(outputs[..., span.outputs], drawn, flags))
        latents, actions, log_probs = zip(*parts, strict=True)
        return _joined(latents), _joined(actions), _total(log_probs)

    def judge(self, outputs: Tensor, latent: Tensor, masks: Tensor | None) -> Evaluated:
        """Outputs [..., agents, outputs], latent [..., action_width] -> [..., agents]."""
        chosen, allowed = self._by_agent(latent), self._allowed(masks)
        parts = []
        for block, span in self._parts():
            flags = None if allowed is None else allowed[..., span.mask]
            parts.append(block.judge(outputs[..., span.outputs], chosen[..., span.latent], flags))
        log_probs, entropies = zip(*parts, strict=True)
        log_prob = _total(log_probs)
        return Evaluated(log_prob, _total(entropies), log_prob.new_zeros(*latent.shape[:-1], 0))

    def _parts(self) -> Iterator[tuple[Block, _Span]]:
        for block, span in zip(self.blocks, self._spans, strict=True):
            yield cast(Block, block), span

    def _by_agent(self, values: Tensor) -> Tensor:
        """[..., agents x width] -> [..., agents, width]."""
        split: Tensor = values.unflatten(-1, (len(self.group.agents), -1))
        return split

    def _allowed(self, masks: Tensor | None) -> Tensor | None:
        """Masks [..., agents, flags]; None where nothing can be forbidden."""
        return self._by_agent(masks) if masks is not None and self.group.mask_width else None


def _blocks(factors: Sequence[Factor], config: ActorConfig, networks: int) -> list[Block]:
    """One block for each run of neighbours that can be computed at once."""

    def likeness(factor: Factor) -> tuple[str, int]:
        return factor.kind, factor.width if factor.kind == "categorical" else 0

    blocks: list[Block] = []
    for (kind, categories), run in groupby(factors, likeness):
        same = list(run)
        width = sum(factor.width for factor in same)
        if kind == "categorical":
            blocks.append(CategoricalBlock(len(same), categories))
        elif kind == "bounded" and config.bounded == "beta":
            blocks.append(BetaBlock(width))
        else:
            blocks.append(GaussianBlock(width, kind == "bounded", config, networks))
    return blocks


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """[..., agents, width] of each block -> [..., agents x all widths]."""
    return (parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)).flatten(-2)


def _total(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total

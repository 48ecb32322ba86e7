"""Monte Carlo dropout through a bank of masks drawn once: the same numbers wherever it runs.

Masks are buffers, derived from a seed, so that torch and an exported graph hold the same
ones (ONNX Runtime removes Dropout nodes, and with them the spread). Gal and Ghahramani,
"Dropout as a Bayesian Approximation" (2016); the split of entropy into mutual information
and the rest after Depeweg et al., "Decomposition of Uncertainty" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from configs.actors import MaskConfig
from policies.distributions import gaussian_entropy


class MaskBank(nn.Module):
    """`config.samples` masks of the last hidden layers: 0 where left out, else 1 / (1 - rate).

    shapes: of the units of each hidden layer, such as (agents, hidden); the last
    `config.layers` of them have masks.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], config: MaskConfig) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        self.samples = config.samples
        shapes = shapes[-config.layers :]
        self.layers = len(shapes)
        for number, shape in enumerate(shapes):
            kept = torch.rand(config.samples, *shape, generator=generator) >= config.rate
            self.register_buffer(f"mask_{number}", kept / (1.0 - config.rate), persistent=False)

    def all(self) -> list[Tensor]:
        """[samples, *shape] of each layer."""
        return [self.get_buffer(f"mask_{number}") for number in range(self.layers)]

    def of_rows(self, count: int) -> list[Tensor]:
        """[count, *shape] of each layer: mask i mod samples for row i.

        Minibatches are in random order already, so that a row meets another mask each time,
        and the same ones when a run is resumed.
        """
        index = torch.arange(count, device=self.get_buffer("mask_0").device) % self.samples
        return [mask[index] for mask in self.all()]


def masked(values: Tensor, drop: Sequence[Tensor], left: int) -> Tensor:
    """A hidden layer's `values` under its mask, as they are where it has none.

    drop: of the last layers, as a bank gives them. left: hidden layers that follow this one.
    """
    return values * drop[-1 - left] if left < len(drop) else values


class Uncertainty(NamedTuple):
    """What the sampled tails say of each decision in mode, per row.

    mean, spread: [N, outputs] over the samples, of every choice's probability and every
        box component's action, agent by agent; the spread is the standard deviation.
    entropy: [N, agents], of the mean prediction, nats.
    information: [N, agents], mutual information of prediction and mask: the entropy that
        the samples do not have each for itself. 0 or above, 0 where all agree.

    A box agent's entropies are differential ones in logit space, the mixture taken as one
    Gaussian of its variance, which bounds both from above.
    """

    mean: Tensor
    spread: Tensor
    entropy: Tensor
    information: Tensor


def categorical_uncertainty(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, spread [..., C], entropy, information [...]) of logits [..., C, S].

    What is not allowed is at the minimum (`policies.distributions.forbid`). Samples come
    last, so that all that is done to a thousand of them runs along memory.
    """
    shifted = logits - logits.amax(-2, keepdim=True)
    weight = shifted.exp()
    total = weight.sum(-2, keepdim=True)
    p = weight / total
    mean = p.mean(-1, keepdim=True)
    apart = p - mean
    spread = (apart * apart).mean(-1).sqrt()
    # 0 log 0 = 0, also for probabilities that round to 0.
    log_mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    entropy = -(mean * log_mean).sum((-2, -1))
    # The mean of KL(sample || mean prediction): as the difference of two entropies it would
    # be lost in their rounding where samples nearly agree.
    divergence = (p * (shifted - log_mean)).sum(-2) - total.squeeze(-2).log()
    return mean.squeeze(-1), spread, entropy, divergence.mean(-1).clamp(min=0.0)


def gaussian_uncertainty(means: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, spread [..., C], entropy, information [...]) of Gaussians in logits.

    means, log_sigma: [..., C, S]. mean and spread are of the actions, sigmoid of the means.
    """
    actions = torch.sigmoid(means)
    within = log_sigma.mean(-1)
    total = torch.exp(2.0 * log_sigma).mean(-1) + means.var(-1, correction=0)
    information = (0.5 * torch.log(total) - within).sum(-1).clamp(min=0.0)
    entropy = gaussian_entropy(within).sum(-1) + information
    return actions.mean(-1), actions.std(-1, correction=0), entropy, information

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


def categorical_uncertainty(log_p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, spread [N, C], entropy, information [N]) of log probabilities [S, N, C]."""
    p = log_p.exp()
    mean = p.mean(0)
    spread = p.std(0, correction=0)
    log_mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    # 0 log 0 = 0, also for probabilities that round to 0.
    entropy = -(mean * log_mean).sum(-1)
    # The mean of KL(sample || mean prediction): as the difference of two entropies it would
    # be lost in their rounding where samples nearly agree.
    apart = torch.where(p > 0.0, p * (log_p - log_mean), 0.0)
    return mean, spread, entropy, apart.sum(-1).mean(0).clamp(min=0.0)


def gaussian_uncertainty(means: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, spread [N, C], entropy, information [N]) of Gaussians' means [S, N, C] in logits.

    mean and spread are of the actions, sigmoid of the means; log_sigma [S, N, C].
    """
    actions = torch.sigmoid(means)
    within = log_sigma.mean(0)
    total = torch.exp(2.0 * log_sigma).mean(0) + means.var(0, correction=0)
    information = (0.5 * torch.log(total) - within).sum(-1).clamp(min=0.0)
    entropy = gaussian_entropy(within).sum(-1) + information
    return actions.mean(0), actions.std(0, correction=0), entropy, information

"""Densities, entropies and draws of the factors that actors choose.

Every draw is a function of noise given from outside (signals.noise): Gumbel for
categories, normal for Gaussians, uniform for Betas. Log densities are of the
latent: a squashed Gaussian's is that of its logit, for the Jacobian of a fixed
squashing cancels in ratios of probabilities.
"""

from __future__ import annotations

import math

import scipy.special
import torch
from torch import Tensor
from torch.nn import functional

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def gaussian_log_density(values: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Elementwise log density of a Gaussian."""
    deviation = (values - mean) * torch.exp(-log_sigma)
    return -0.5 * deviation * deviation - log_sigma - _HALF_LOG_TWO_PI


def gaussian_entropy(log_sigma: Tensor) -> Tensor:
    """Elementwise differential entropy of a Gaussian, in nats."""
    return log_sigma + _HALF_LOG_TWO_PI + 0.5


def log_sigma_between(raw: Tensor, low: float, high: float) -> Tensor:
    """The log of a sigma in (low, high), for a raw number on the whole line."""
    log_low, log_high = math.log(low), math.log(high)
    return log_low + (log_high - log_low) * torch.sigmoid(raw)


def raw_sigma_of(sigma: float, low: float, high: float) -> float:
    """The raw number at which `log_sigma_between` gives log(sigma)."""
    log_low, log_high = math.log(low), math.log(high)
    share = (math.log(sigma) - log_low) / (log_high - log_low)
    return math.log(share / (1.0 - share))


def forbid(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Logits with those at the minimum that are not allowed (bool, of the same shape).

    The minimum is finite, so that probability 0 times its logarithm is 0 and no
    NaN, in entropies and in their gradients.
    """
    if allowed is None:
        return logits
    return logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)


def categorical_log_p(logits: Tensor) -> Tensor:
    """Log probabilities [C, ...] of logits [..., C]: categories come first.

    Categories are few and rows many: along the first dimension torch's kernels
    work on many rows at once, along a last one of few numbers on one at a time.
    """
    log_p: Tensor = functional.log_softmax(logits.movedim(-1, 0), dim=0)
    return log_p


def categorical_draw(logits: Tensor, noise: Tensor | None) -> Tensor:
    """Index [...] drawn from logits [..., C] by Gumbel noise [..., C]; None: the likeliest."""
    return (logits if noise is None else logits + noise).argmax(dim=-1)


def categorical_log_prob(log_p: Tensor, index: Tensor) -> Tensor:
    """Log probability [...] of the categories `index` [...] under log_p [C, ...]."""
    return log_p.gather(0, index.unsqueeze(0)).squeeze(0)


def categorical_entropy(log_p: Tensor) -> Tensor:
    """Entropy [...] of log probabilities [C, ...], in nats; finite log_p only."""
    return -(log_p.exp() * log_p).sum(0)


def beta_excess(raw: Tensor) -> Tensor:
    """alpha - 1 (or beta - 1) of a raw number: positive, so that the density has one mode.

    Chou, Maturana and Scherer, "Improving Stochastic Policy Gradients in Continuous
    Control with Deep Reinforcement Learning using the Beta Distribution" (2017).
    """
    return functional.softplus(raw)


def beta_log_density(values: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Elementwise log density of Beta(alpha, beta) at values in (0, 1)."""
    log_inside = (alpha - 1.0) * torch.log(values) + (beta - 1.0) * torch.log1p(-values)
    return log_inside - _log_beta(alpha, beta)


def beta_entropy(alpha: Tensor, beta: Tensor) -> Tensor:
    """Elementwise differential entropy of Beta(alpha, beta), in nats."""
    total = alpha + beta
    inside = (alpha - 1.0) * torch.digamma(alpha) + (beta - 1.0) * torch.digamma(beta)
    return _log_beta(alpha, beta) - inside + (total - 2.0) * torch.digamma(total)


def beta_mode(alpha_excess: Tensor, beta_excess: Tensor) -> Tensor:
    """Elementwise mode of Beta(1 + alpha_excess, 1 + beta_excess); 1/2 where both are 0."""
    tiny = torch.finfo(alpha_excess.dtype).tiny
    return inside_unit((alpha_excess + tiny) / (alpha_excess + beta_excess + 2.0 * tiny))


@torch.no_grad()
def beta_quantile(uniform: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The Beta number below which `uniform` of the mass lies, elementwise, on the same device.

    torch has no inverse of the incomplete beta function; SciPy's runs on the CPU.
    """
    arrays = [values.detach().cpu().numpy() for values in (alpha, beta, uniform)]
    values = torch.from_numpy(scipy.special.betaincinv(*arrays))
    return inside_unit(values.to(uniform))


def inside_unit(values: Tensor) -> Tensor:
    """Values held inside (0, 1), where both logarithms of a Beta's density are finite."""
    edge = torch.finfo(values.dtype).eps
    return values.clamp(edge, 1.0 - edge)


def _log_beta(alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)

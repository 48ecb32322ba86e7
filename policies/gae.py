"""Generalised advantage estimation over [T, N] rollouts with resets inside."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminations: Tensor,
    truncations: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Advantages [T, N, A] (Schulman et al., 2016, equations 11 and 16).

    rewards, values: [T, N, A], of step t and of the state it was decided in.
    next_values: [T, N, A], of the state that step t led to, before any reset.
    terminations, truncations: bool [T, N, A], or [T, N] of all agents. A termination
    has no further value; a truncation bootstraps from `next_values`; neither lets the
    next episode's advantages through. Where both are set, termination wins.
    """
    if terminations.dim() < rewards.dim():
        terminations, truncations = terminations.unsqueeze(-1), truncations.unsqueeze(-1)
    goes_on = (~(terminations | truncations)).to(rewards.dtype)
    alive = (~terminations).to(rewards.dtype)
    delta = rewards + gamma * alive * next_values - values
    decay = gamma * gae_lambda * goes_on
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantages[t] = running
    return advantages

"""Advantages against a slow, obvious reference."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.gae import generalized_advantages


def reference(rewards, values, next_values, terminations, truncations, gamma, lam):
    """Sums of discounted residuals, episode by episode (Schulman et al., 2016, eq. 16)."""
    steps, envs, agents = rewards.shape
    found = torch.zeros_like(rewards)
    for n in range(envs):
        for a in range(agents):
            for start in range(steps):
                weight = 1.0
                for t in range(start, steps):
                    following = 0.0 if terminations[t, n] else next_values[t, n, a]
                    residual = rewards[t, n, a] + gamma * following - values[t, n, a]
                    found[start, n, a] += weight * residual
                    weight *= gamma * lam
                    if terminations[t, n] or truncations[t, n]:
                        break
    return found


@given(
    seed=st.integers(0, 10_000),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
)
def test_equals_the_reference(seed: int, gamma: float, lam: float):
    generator = torch.Generator().manual_seed(seed)
    shape = (7, 3, 2)
    rewards, values, following = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    ends = torch.rand((2, 7, 3), generator=generator) < 0.2
    arguments = (rewards, values, following, ends[0], ends[1], gamma, lam)
    torch.testing.assert_close(generalized_advantages(*arguments), reference(*arguments))


def test_a_truncation_bootstraps_and_a_termination_does_not():
    one = torch.ones(1, 1, 1)
    no, yes = torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    cut = generalized_advantages(one, 0 * one, 10 * one, no, yes, 0.5, 0.9)
    ended = generalized_advantages(one, 0 * one, 10 * one, yes, no, 0.5, 0.9)
    both = generalized_advantages(one, 0 * one, 10 * one, yes, yes, 0.5, 0.9)
    assert (cut.item(), ended.item(), both.item()) == (6.0, 1.0, 1.0)

"""Densities and entropies are those of torch.distributions, and draws follow the densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import betainc
from torch.distributions import Beta, Categorical, Normal

from policies import distributions as law
from signals.noise import TeamNoise, derive_seeds
from signals.team import Factor, GroupLayout, TeamLayout
from tests.policies.teams import actor_of

DRAWS = 40_000
KOLMOGOROV = 1.95 / np.sqrt(DRAWS)  # exceeded by one sample in a thousand


def numbers(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_gaussians_are_torchs():
    mean, log_sigma, values = numbers(50), numbers(50, seed=1), numbers(50, scale=3.0, seed=2)
    reference = Normal(mean, log_sigma.exp())
    found = law.gaussian_log_density(values, mean, log_sigma)
    torch.testing.assert_close(found, reference.log_prob(values))
    torch.testing.assert_close(law.gaussian_entropy(log_sigma), reference.entropy())


def test_sigma_lies_between_its_bounds_and_starts_where_told():
    raw = law.raw_sigma_of(0.7, 0.02, 3.0)
    found = law.log_sigma_between(torch.tensor([raw, -1e4, 1e4], dtype=torch.float64), 0.02, 3.0)
    expected = torch.tensor([0.7, 0.02, 3.0], dtype=torch.float64)
    torch.testing.assert_close(found.exp(), expected)


def test_categories_are_torchs():
    logits = numbers(50, 3, 6, scale=3.0).requires_grad_()
    index = torch.randint(6, (50, 3), generator=torch.Generator().manual_seed(1))
    twin = logits.detach().clone().requires_grad_()
    reference = Categorical(logits=twin)
    log_p = law.categorical_log_p(logits)
    found = law.categorical_log_prob(log_p, index), law.categorical_entropy(log_p)
    expected = reference.log_prob(index), reference.entropy()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(part.sum() for part in found).backward()
    sum(part.sum() for part in expected).backward()
    torch.testing.assert_close(logits.grad, twin.grad)


def test_forbidden_categories_leave_the_law_of_the_others():
    logits, allowed = numbers(50, 6, scale=3.0), numbers(50, 6, seed=1) > 0.0
    allowed[:, 2] = True
    log_p = law.categorical_log_p(law.forbid(logits, allowed))
    for row in range(50):
        left = Categorical(logits=logits[row, allowed[row]])
        torch.testing.assert_close(log_p[allowed[row], row].exp(), left.probs)
        torch.testing.assert_close(law.categorical_entropy(log_p)[row], left.entropy())
    assert (log_p.T[~allowed].exp() == 0).all()


def test_betas_are_torchs():
    raw = numbers(2, 60, scale=4.0).requires_grad_()
    values = torch.rand(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    twin = raw.detach().clone().requires_grad_()
    alpha, beta = 1.0 + law.beta_excess(raw)
    reference = Beta(*(1.0 + torch.nn.functional.softplus(twin)))
    found = law.beta_log_density(values, alpha, beta), law.beta_entropy(alpha, beta)
    expected = reference.log_prob(values), reference.entropy()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(part.sum() for part in found).backward()
    sum(part.sum() for part in expected).backward()
    torch.testing.assert_close(raw.grad, twin.grad)


def test_a_betas_mode_is_where_its_density_is_highest():
    above, below = law.beta_excess(numbers(2, 20, scale=3.0))
    grid = torch.linspace(1e-4, 1 - 1e-4, 20_001, dtype=torch.float64).unsqueeze(1)
    highest = grid[law.beta_log_density(grid, 1.0 + above, 1.0 + below).argmax(0), 0]
    found = law.beta_mode(above, below)
    torch.testing.assert_close(found, highest, rtol=0, atol=1.1e-4)
    nothing = torch.zeros(1)
    assert law.beta_mode(nothing, nothing) == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_quantile_inverts_the_betas_distribution_function(dtype: torch.dtype):
    alpha, beta = (1.0 + law.beta_excess(numbers(2, 2_000, scale=6.0))).to(dtype)
    uniform = torch.rand(2_000, generator=torch.Generator().manual_seed(1)).clamp(1e-7).to(dtype)
    found = law.beta_quantile(uniform, alpha, beta)
    assert found.dtype == dtype and ((found > 0) & (found < 1)).all()
    back = betainc(*(v.double().numpy() for v in (alpha, beta, found)))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(back, uniform.double().numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("uniform", [0.0, 1e-30, 1.0])
def test_a_betas_draw_never_leaves_the_open_interval(uniform: float):
    raw = torch.tensor([-200.0, 0.0, 200.0])
    alpha, beta = 1.0 + law.beta_excess(raw), 1.0 + law.beta_excess(-raw)
    found = law.beta_quantile(torch.full((3,), uniform), alpha, beta)
    assert law.beta_log_density(found, alpha, beta).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "bounded", "low", "high"),
    [
        ("bounded", "squashed", -30.0, 30.0),
        ("unbounded", "squashed", -30.0, 30.0),
        ("bounded", "beta", 0.0, 1.0),
    ],
)
def test_an_actors_numbers_follow_the_density_that_it_reports(kind, bounded, low, high):
    """Kolmogorov-Smirnov: draws against the integral of exp(log_prob), which must reach 1."""
    group = GroupLayout("lone", ("one",), ("a", "b"), (Factor("x", kind, 1),))
    actor = actor_of(group, bounded=bounded, initial_sigma=1.5)
    row = torch.tensor([[0.3, -0.8]])
    noise = team_noise(group, bounded)
    grid = torch.linspace(low, high, 60_002)[1:-1]
    with torch.no_grad():
        density = actor.evaluate(row.expand(len(grid), -1), grid.unsqueeze(1)).log_prob.exp()
        drawn = actor.act(row.expand(DRAWS, -1), noise).latent[:, 0].double().numpy()
        entropy = actor.evaluate(row, torch.tensor([[0.5]])).entropy.item()
    step = (high - low) / (len(grid) + 1)
    share = np.cumsum(density[:, 0].double().numpy()) * step
    assert share[-1] == pytest.approx(1.0, abs=1e-3)
    reached = np.interp(np.sort(drawn), grid.numpy(), share)
    assert np.abs(reached - (np.arange(DRAWS) + 0.5) / DRAWS).max() < KOLMOGOROV
    information = -np.log(np.interp(drawn, grid.numpy(), density[:, 0].numpy()))
    error = information.std() / np.sqrt(DRAWS)
    assert abs(information.mean() - entropy) < 4 * error


def test_an_actors_choices_follow_the_probabilities_that_it_reports():
    group = GroupLayout("lone", ("one",), ("a", "b"), (Factor("x", "categorical", 5),))
    actor = actor_of(group)
    row = torch.tensor([[0.3, -0.8]])
    with torch.no_grad():
        every = torch.arange(5.0).unsqueeze(1)
        evaluated = actor.evaluate(row.expand(5, -1), every)
        drawn = actor.act(row.expand(DRAWS, -1), team_noise(group, "squashed")).latent[:, 0]
    p = evaluated.log_prob[:, 0].exp().double()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-6)
    counts = torch.bincount(drawn.long(), minlength=5)
    chi_square = ((counts - DRAWS * p) ** 2 / (DRAWS * p)).sum().item()
    assert chi_square < 18.5  # exceeded by one sample in a thousand, four degrees of freedom
    torch.testing.assert_close(evaluated.entropy[0, 0].double(), Categorical(p).entropy())


def team_noise(group: GroupLayout, bounded: str) -> torch.Tensor:
    uniform = (group.name,) if bounded == "beta" else ()
    noise = TeamNoise(TeamLayout("team", (group,)), uniform)
    steps = np.zeros(DRAWS, dtype=np.int64)
    return torch.from_numpy(noise(derive_seeds(8, count=DRAWS), steps))

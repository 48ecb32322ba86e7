"""Reward terms: sign, unit, and what they sum to."""

from __future__ import annotations

import numpy as np
import pytest

from envs.execution import BatchedExecution
from market import decode
from rewards.execution import TERMS, quality_term, risk_term, shortfall_term
from tests.market.episodes import configured, parent_of, random_actions
from trainers.baselines import neutral_action


def test_a_cost_that_grows_is_a_negative_reward() -> None:
    assert shortfall_term(1.0, 3.5) == -2.5
    assert shortfall_term(3.5, 1.0) == 2.5
    assert shortfall_term(2.0, 2.0) == 0.0


def test_open_risk_is_a_negative_reward_in_bp() -> None:
    # lambda 1e-3 / bp, sigma 2 bp, half of it open: 1e-3 * 4 * .25 bp.
    assert risk_term(1e-3, 2.0, 0.5) == pytest.approx(-1e-3)
    assert risk_term(1e-3, 2.0, 0.0) == 0.0
    assert risk_term(0.0, 2.0, 1.0) == 0.0
    assert risk_term(1e-3, 2.0, 1.0) < risk_term(1e-3, 2.0, 0.5) < 0.0


def test_quality_is_a_share_of_the_episode() -> None:
    assert quality_term(1.0, 75) == pytest.approx(1 / 75)
    assert quality_term(0.0, 75) == 0.0
    assert sum(quality_term(1.0, 75) for _ in range(75)) == pytest.approx(1.0)


@pytest.mark.parametrize("objective", ["shortfall", "documents"])
def test_terms_telescope_to_the_episode(objective: str) -> None:
    """Rewards sum to minus the shortfall on the whole parent, less the risk carried."""
    env = BatchedExecution(configured(reward__objective=objective), 24, seed=6)
    env.reset()
    rng = np.random.default_rng(6)
    totals = np.zeros(24)
    risk = np.zeros(24)
    names = list(env.metric_names)
    while not env.terminations.all():
        running = ~env.terminations
        env.step(random_actions(rng, 24, stop=0.02))
        assert np.all(env.rewards == env.rewards[:, :1])  # one reward for all five
        totals[running] += env.rewards[running, 0]
        for n in np.flatnonzero(running):
            risk[n] += _risk(env, n)
    metrics = dict(zip(names, env.episode_metrics.T, strict=True))
    assert metrics["reward"] == pytest.approx(totals, abs=1e-4)
    assert metrics["reward_shortfall"] == pytest.approx(-metrics["shortfall_bp"], abs=1e-9)
    assert metrics["reward_risk"] == pytest.approx(risk, rel=1e-9)
    assert [f"reward_{term}" for term in TERMS] == [n for n in names if n.startswith("reward_")]
    if objective == "documents":
        assert metrics["reward"] == pytest.approx(metrics["reward_quality"], abs=1e-9)
    else:
        parts = metrics["reward_shortfall"] + metrics["reward_risk"]
        assert metrics["reward"] == pytest.approx(parts, abs=1e-9)
    assert metrics["stopped"].any()


def _risk(env: BatchedExecution, n: int) -> float:
    """The step's term, from the records: what is open, or was abandoned until the horizon."""
    parent, episode = parent_of(env, n), env.simulator.market.episodes[n]
    sigma = episode["sigma"] / (episode["base"] + parent["arrival"]) * 1e4
    aversion = env.config.reward.risk_aversion
    held = (parent["remaining"] / parent["quantity"]) ** 2
    left = parent["horizon"] - parent["step"]
    held += left * (parent["abandoned"] / parent["quantity"]) ** 2
    return float(-aversion * sigma**2 * held)


def test_no_aversion_is_shortfall_alone() -> None:
    env = BatchedExecution(configured(reward__risk_aversion=0.0), 4, seed=1)
    env.reset()
    while not env.terminations.all():
        env.step(random_actions(np.random.default_rng(0), 4))
    metrics = dict(zip(env.metric_names, env.episode_metrics.T, strict=True))
    assert np.all(metrics["reward_risk"] == 0.0)
    assert metrics["reward"] == pytest.approx(-metrics["shortfall_bp"])


def test_the_documents_objective_pays_neither_idling_nor_stopping() -> None:
    config = configured(reward__objective="documents")
    total = {}
    for name in ("work", "idle", "stop"):
        env = BatchedExecution(config, 128, seed=2)
        env.reset()
        action = neutral_action(128)
        action[:, decode.URGENCY] = 1.0
        if name == "idle":
            action[:, decode.SHARE] = 0.0
        if name == "stop":
            action[:, decode.RISK_DECISION] = decode.EMERGENCY_STOP
        while not env.terminations.all():
            env.step(action)
        total[name] = env.episode_metrics[:, env.metric_names.index("reward")].mean()
    assert total["work"] > total["idle"] + 0.05
    assert total["work"] > total["stop"] + 0.05

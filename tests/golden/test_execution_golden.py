"""Recorded simulations: what the market does may change only with a commit that says why.

When a change is meant to alter simulated trajectories, run this test, copy the
digests it prints into GOLDEN, bump the environment's version if what an agent can
learn has changed, and say in CHANGELOG.md what differs. When no change was meant,
a difference here is a bug.

Only integers enter the digest (trades, quantities, queue lengths, ladder prices),
so that the last bit of a logarithm on another processor does not show.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from configs.execution import ExecutionConfig
from envs.execution import BatchedExecution
from market import decode
from signals.execution import EXECUTION
from tests.market.episodes import Actions, configured
from tests.market.test_reference import bars_config, synthetic_bars

GOLDEN = {
    "generator": "7f3139dcd6dc99a53f1bbf5ed756706c0909cb1da286cf889320349c6e38e6bd",
    "bars": "eecad0ae3f866edc4c5773f88dcbbafdfde2ff2008a0c5bdd0eff29d184a24cd",
    "slow_and_large": "46493dd14e28eabc91dfb70b8106c55275ea2e08d179d58c0da8f0e7341f7f2b",
}
EPISODES, ROWS = 3, 2


def scenario(name: str, folder: Path) -> ExecutionConfig:
    if name == "bars":
        return bars_config(synthetic_bars(folder))
    if name == "slow_and_large":
        return configured(
            step_seconds=1.0,
            parent__participation_low=0.2,
            parent__participation_high=0.5,
            market__router_latency_seconds=0.4,
            market__flow__impact__scale=2.0,
        )
    return ExecutionConfig()


def scripted(step: int) -> Actions:
    """Every component takes each of five values in turn, at paces that share no factor."""
    action = np.zeros((ROWS, EXECUTION.action_width), np.float32)
    for position in range(EXECUTION.action_width):
        for row in range(ROWS):
            action[row, position] = (step * (2 * position + 1) + 3 * position + row) % 5 / 4
    # All decisions but the stop, and approval most of the time.
    decisions = (0, 0, 0, decode.REDUCE_SIZE, 0, decode.HOLD_CHILDREN, 0, 0, decode.CANCEL_CHILDREN)
    action[:, decode.RISK_DECISION] = decisions[step % len(decisions)]
    return action


def digest_of(config: ExecutionConfig) -> str:
    env = BatchedExecution(config, ROWS, seed=42)
    digest = hashlib.sha256()
    market = env.simulator.market
    for _ in range(EPISODES):
        env.reset()
        digest.update(market.depth.tobytes())
        while not env.terminations.all():
            env.step(scripted(int(market.parents["step"].max())))
            for n in range(ROWS):
                digest.update(market.tape[n, : market.tape_count[n]].tobytes())
            for field in ("remaining", "resting", "in_flight", "queue_ahead", "last_cancelled"):
                digest.update(np.ascontiguousarray(market.parents[field]).tobytes())
            digest.update(np.ascontiguousarray(market.episodes["arrivals"]).tobytes())
            digest.update(market.depth.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", GOLDEN)
def test_trajectories_are_the_recorded_ones(name: str, tmp_path: Path) -> None:
    found = digest_of(scenario(name, tmp_path))
    assert found == GOLDEN[name], f"'{name}' now has the digest {found}; see this module's head"

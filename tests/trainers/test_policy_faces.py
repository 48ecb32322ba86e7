"""The sequential policy acts alike on both PettingZoo faces, its noise keyed by seed and step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.actors import ActorConfig
from envs import execution_v1
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from signals.noise import joint_noise

AGENTS = [agent.name for agent in EXECUTION.agents]


def decide(policy: SequentialPolicy, state: NDArray[np.float32], seed: int, step: int) -> Any:
    rows = torch.from_numpy(state[None, : EXECUTION.row_width])
    noise = joint_noise(EXECUTION, np.array([seed], np.uint64), np.array([step]))
    with torch.no_grad():
        return policy.act(rows, torch.from_numpy(noise)).actions.numpy()[0]


def choice(joint: NDArray[np.float32], agent: int) -> Any:
    numbers = joint[EXECUTION.action_slice(agent)]
    return int(numbers[0]) if EXECUTION.agents[agent].kind == "discrete" else numbers


def test_equal_actions_and_trajectories_on_both_faces() -> None:
    policy = SequentialPolicy(EXECUTION, ActorConfig(hidden=(16, 16)), seed=3)
    parallel, turns = execution_v1.parallel_env(), execution_v1.env()
    parallel.reset(seed=6)
    turns.reset(seed=6)
    step = 0
    while parallel.agents:
        joint = decide(policy, parallel.state(), seed=6, step=step)
        for index, agent in enumerate(AGENTS):
            again = decide(policy, turns.state(), seed=6, step=step)
            assert np.array_equal(again, joint)
            upstream = turns.observe(agent)["upstream"]
            for before in range(min(index, len(AGENTS) - 1)):
                seen = upstream[EXECUTION.upstream_slice(before)]
                chosen = joint[EXECUTION.action_slice(before)]
                if EXECUTION.agents[before].kind == "box":
                    assert np.array_equal(seen, chosen)
                else:
                    assert seen.argmax() == int(chosen[0])
            turns.step(choice(again, index))
        parallel.step({agent: choice(joint, i) for i, agent in enumerate(AGENTS)})
        assert np.array_equal(parallel.state(), turns.state())
        step += 1
    assert step > 1

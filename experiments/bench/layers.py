"""Steps a second of the layers above execution, for `bench envs`: observations included.

One PettingZoo environment each, at 1 message/s of background flow over all venues. All agents
act at random among what their masks allow. The choices are drawn in a first run, in which the
messages are counted as well, and played again in the timed ones: the same seed meets the same
masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs import strategic_v0, tactical_v1
from envs.barwise.parallel import BarsParallelEnv
from experiments.bench.report import Figure, speed
from experiments.bench.timing import median_cpu_seconds

# A full market of ten messages a second, simulated as one.
_MESSAGES_PER_S = 10.0
_THINNING = 10.0
_TARGETS = {"tactical": 15_000.0, "strategic": 4_000.0}  # steps a second and core


@dataclass(frozen=True)
class LayerSizes:
    """How many steps are taken, and of how many bars of the built-in market."""

    steps: int = 2400
    repeats: int = 5
    bars: int = 20_000
    seed: int = 0


def layer_figures(sizes: LayerSizes, reference_messages_per_s: float) -> list[Figure]:
    """The figures of both layers.

    Args:
        reference_messages_per_s: of the Python book.
    """
    quiet = {
        "series": {"bars": sizes.bars},
        "thinning": _THINNING,
        "market": {"flow": {"arrivals": {"messages_per_second": _MESSAGES_PER_S}}},
    }
    out = []
    for layer, env in (
        ("tactical", tactical_v1.parallel_env(load_config(TacticalConfig, quiet))),
        ("strategic", strategic_v0.parallel_env(load_config(StrategicConfig, quiet))),
    ):
        value, messages = _steps_per_s(env, sizes)
        figure = speed(
            f"{layer}_steps_per_s_1msg_per_s",
            value,
            "steps/s",
            "Python book, same messages",
            reference_messages_per_s / messages,
        )
        out.append(replace(figure, target=_TARGETS[layer], of_value=True))
        out.append(Figure(f"{layer}_messages_per_step", messages, "messages"))
    return out


def _steps_per_s(env: BarsParallelEnv, sizes: LayerSizes) -> tuple[float, float]:
    """Steps a CPU second, and background messages a step."""
    joint, messages = _recorded(env, sizes)

    def run() -> None:
        for actions in joint:
            env.step(actions)
            if not env.agents:
                env.reset()

    def start() -> None:
        env.reset(seed=sizes.seed)

    seconds = median_cpu_seconds(run, sizes.repeats, start)
    return len(joint) / seconds, messages


def _recorded(env: BarsParallelEnv, sizes: LayerSizes) -> tuple[list[dict[str, int]], float]:
    """Joint actions drawn among the allowed choices, and the messages a step that they met."""
    rng = np.random.default_rng(sizes.seed)
    episodes = env.batch.arrays.world.market.episodes
    observations, _ = env.reset(seed=sizes.seed)
    joint: list[dict[str, int]] = []
    messages, before = 0, 0
    for _ in range(sizes.steps):
        actions = {agent: _choice(env, agent, seen, rng) for agent, seen in observations.items()}
        joint.append(actions)
        observations, *_ = env.step(actions)
        after = int(episodes["arrivals"][0])
        # Where books were opened anew, messages are counted anew.
        messages += after - before if after >= before else after
        before = after
        if not env.agents:
            observations, _ = env.reset()
            before = 0
    return joint, messages / sizes.steps


def _choice(
    env: BarsParallelEnv, agent: str, seen: dict[str, Any], rng: np.random.Generator
) -> int:
    mask = seen.get("action_mask")
    if mask is None:
        return int(rng.integers(env.action_space(agent).n))
    return int(rng.choice(np.flatnonzero(mask)))

"""`bench envs`: steps a second of the environments, observations included.

All agents act at random in every step. `risk_control` never chooses EMERGENCY_STOP,
which would end an episode after five steps on average and measure resets instead;
the resets that full episodes need are part of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from configs.loading import load_config
from envs import execution_v1
from envs.execution import make_batched
from experiments.bench.layers import LayerSizes, layer_figures
from experiments.bench.reference import reference_messages_per_s
from experiments.bench.report import Figure, speed
from experiments.bench.timing import median_cpu_seconds
from signals.execution import EXECUTION

_STOP = "EMERGENCY_STOP"
_STEPS_PER_S = 60_000.0  # a core, five agents, observations included
_QUIET_US = 7.0  # of a step at that speed that may be anything but the market's messages
_QUIET_RATE = 0.01  # background messages a second
_MICROSECONDS = 1e6


@dataclass(frozen=True)
class EnvSizes:
    """How many steps the benchmark takes."""

    steps: int = 9000  # 120 episodes: the activity of a few strays from its mean
    repeats: int = 5
    batch: int = 128
    batch_steps: int = 150
    reference_messages: int = 200_000
    levels: int = 1024
    seed: int = 0
    layers: LayerSizes = field(default_factory=LayerSizes)


def figures(sizes: EnvSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or EnvSizes()
    joint = joint_actions(sizes.steps, sizes.seed)
    alone, messages = _alone(sizes, joint, ExecutionConfig())
    quiet, _ = _alone(sizes, joint, _quiet_market())
    book = reference_messages_per_s(sizes.reference_messages, sizes.seed, sizes.levels)
    book_steps = book / messages
    batched = _batched_steps_per_s(sizes)
    reference = "Python book, same messages"
    unit = "steps/s"
    single = speed("execution_steps_per_s_100msg_per_step", alone, unit, reference, book_steps)
    return [
        replace(single, target=_STEPS_PER_S, of_value=True),
        speed(f"execution_batched{sizes.batch}_steps_per_s", batched, unit, reference, book_steps),
        Figure("execution_messages_per_step", messages, "messages"),
        Figure(
            "execution_step_without_messages_us",
            _MICROSECONDS / quiet,
            "us",
            target=_QUIET_US,
            at_most=True,
        ),
        *layer_figures(sizes.layers, book),
    ]


def _quiet_market() -> ExecutionConfig:
    """The default environment in which next to nothing happens: what is left is overhead.

    Its parents are of one unit, so that the work on child orders is left out as well.
    """
    return load_config(
        ExecutionConfig, {"market": {"flow": {"arrivals": {"messages_per_second": _QUIET_RATE}}}}
    )


def joint_actions(count: int, seed: int) -> NDArray[np.float32]:
    """Random joint actions without EMERGENCY_STOP, float32 [count, action width]."""
    rng = np.random.default_rng(seed)
    rows = rng.random((count, EXECUTION.action_width), dtype=np.float32)
    for index, agent in enumerate(EXECUTION.agents):
        if agent.kind == "discrete":
            names = [component.name for component in agent.components]
            allowed = [n for n, name in enumerate(names) if name.upper() != _STOP]
            rows[:, EXECUTION.action_slice(index)] = rng.choice(allowed, (count, 1))
    return rows


def _as_dicts(joint: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Joint rows as PettingZoo takes them: one action for each agent."""
    out: list[dict[str, Any]] = []
    for row in joint:
        actions: dict[str, Any] = {}
        for index, agent in enumerate(EXECUTION.agents):
            part = row[EXECUTION.action_slice(index)]
            actions[agent.name] = int(part[0]) if agent.kind == "discrete" else part.copy()
        out.append(actions)
    return out


def _alone(
    sizes: EnvSizes, joint: NDArray[np.float32], config: ExecutionConfig
) -> tuple[float, float]:
    """Steps a CPU second of one PettingZoo environment, and its messages a step."""
    env = execution_v1.parallel_env(config)
    actions = _as_dicts(joint)

    def run() -> None:
        for action in actions:
            env.step(action)
            if not env.agents:
                env.reset()

    def start() -> None:
        env.reset(seed=sizes.seed)

    seconds = median_cpu_seconds(run, sizes.repeats, start)
    # The same steps once more, outside the time, to count the background messages.
    start()
    episodes = env.batch.simulator.market.episodes
    messages = 0
    for action in actions:
        before = int(episodes["arrivals"][0])
        env.step(action)
        messages += int(episodes["arrivals"][0]) - before
        if not env.agents:
            env.reset()
    return len(actions) / seconds, messages / len(actions)


def _batched_steps_per_s(sizes: EnvSizes) -> float:
    """Steps of single environments a CPU second, through the face that trainers drive."""
    env = make_batched(sizes.batch, sizes.seed)
    flat = joint_actions(sizes.batch_steps * sizes.batch, sizes.seed + 1)
    joint = flat.reshape(sizes.batch_steps, sizes.batch, -1)

    def run() -> None:
        for actions in joint:
            env.step(actions)
            if env.terminations.any():
                env.reset(env.terminations.copy())

    # Each repeat goes on where the last one ended, so that all phases of an episode count.
    env.reset()
    return len(flat) / median_cpu_seconds(run, sizes.repeats)

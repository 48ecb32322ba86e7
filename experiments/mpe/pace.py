"""Training's frames a CPU second, and those of the raw environment in the same run.

They take turns: after every few iterations the raw environment plays as many frames as an
iteration, so that a machine that changes its pace does so for both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from configs.team import TeamConfig
from envs.vector_make import Maker

CPU_SECONDS, FRAMES = "cpu_seconds", "cpu_frames"
RAW_CPU_SECONDS, RAW_FRAMES = "raw_cpu_seconds", "raw_frames"
RAW_EVERY = 15  # iterations between two turns of the raw environment


@dataclass(frozen=True)
class Pace:
    """Frames (steps of one environment, all agents acting) a CPU second.

    training: of whole iterations (sampling, learning, checkpoints), by the CPU time of all
        threads of the training process; the first iteration of a sitting and everything
        before it is not counted. raw: of the environment alone, one instance, reset and
        stepped by random actions drawn beforehand. None where nothing was counted.
    """

    training: float | None
    raw: float | None

    @property
    def ratio(self) -> float | None:
        if self.training is None or self.raw is None:
            return None
        return self.training / self.raw

    @classmethod
    def of(cls, history: Sequence[Mapping[str, float]]) -> Pace:
        """From the rows of a run, all its sittings together."""
        return cls(_rate(history, FRAMES, CPU_SECONDS), _rate(history, RAW_FRAMES, RAW_CPU_SECONDS))


def _rate(history: Sequence[Mapping[str, float]], frames: str, seconds: str) -> float | None:
    counted = [row for row in history if seconds in row]
    if not counted:
        return None
    return sum(row[frames] for row in counted) / sum(row[seconds] for row in counted)


class RawEnvironment:
    """One instance of the environment, played at random; its agents' actions are Discrete."""

    def __init__(self, config: TeamConfig) -> None:
        self._env = Maker(config.env, config.kwargs)()
        self._generator = np.random.default_rng(config.seed)
        self.steps = int(config.kwargs["max_cycles"])
        self._played = 0

    def turn(self, episodes: int) -> dict[str, float]:
        """Play whole episodes; the frames and the CPU seconds that they took."""
        env = self._env
        names = list(env.possible_agents)
        widths = [env.action_space(name).n for name in names]
        choices = self._generator.integers(widths, size=(episodes, self.steps, len(names)))
        frames = 0
        began = time.process_time()
        for episode in choices.tolist():
            env.reset(seed=self._played)
            self._played += 1
            for actions in episode:
                env.step(dict(zip(names, actions, strict=True)))
                frames += 1
        return {RAW_CPU_SECONDS: time.process_time() - began, RAW_FRAMES: float(frames)}

    def close(self) -> None:
        self._env.close()


class PaceMeter:
    """Given every iteration: what to record of its pace."""

    def __init__(self, config: TeamConfig) -> None:
        self._raw = RawEnvironment(config)
        self._frames = config.mappo.iteration_env_steps
        self._mark: float | None = None

    def figures(self, iteration: int) -> dict[str, float]:
        """Of the iteration that has just ended and, where one was due, the checkpoint before it."""
        found: dict[str, float] = {}
        if self._mark is not None:
            found = {CPU_SECONDS: time.process_time() - self._mark, FRAMES: float(self._frames)}
        if iteration % RAW_EVERY == 1:
            found |= self._raw.turn(self._frames // self._raw.steps)
        return found

    def go_on(self) -> None:
        """Count from here: what the caller did with the figures is none of training's."""
        self._mark = time.process_time()

    def close(self) -> None:
        self._raw.close()

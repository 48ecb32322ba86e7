"""The environments of the study, their settings and what they must show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs.loading import load_config
from configs.team import TeamConfig

ALL = "all"
SPREAD = "spread"
TASKS = (SPREAD, "reference", "speaker_listener")
SEEDS = 3

_HERE = Path(__file__).parent
_COMMON = "common"


@dataclass(frozen=True)
class Target:
    """What a task must show.

    greedy: the mean over seeds of the return per agent, by the actors' modes, at least.
    pace: training's frames a CPU second over raw mpe2's in the same run, at least.
    """

    greedy: float
    pace: float


# The return: the single-file MAPPO's -9.83 and its spread over seeds, .26, and some. The
# pace: 2,400 frames a CPU second where raw mpe2 gives 3,200.
TARGETS = {SPREAD: Target(greedy=-10.2, pace=0.75)}


def settings(
    task: str, seed: int, frames: int | None = None, episodes: int | None = None
) -> TeamConfig:
    """The settings of one training: common.yaml, then the task's own file.

    frames: environment steps of all its environments together. episodes: greedy ones
    after it. None takes the files'.

    Raises:
        ConfigError: a number is out of its range.
    """
    overrides = [f"seed={seed}", f"mappo.seed={seed}"]
    if frames is not None:
        overrides.append(f"mappo.stop.env_steps={frames}")
    if episodes is not None:
        overrides.append(f"play.episodes={episodes}")
    files = [_HERE / f"{name}.yaml" for name in (_COMMON, task)]
    return load_config(TeamConfig, *files, overrides=overrides)

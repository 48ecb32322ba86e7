"""The tasks of the study, their settings and what they must show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from configs.analytic import AnalyticConfig
from configs.base import Config
from configs.loading import load_config
from configs.mappo import MappoConfig
from configs.strategic import StrategicConfig

ALL = "all"
ANALYTIC = ("ar1", "ar1_cost", "regime", "almgren_chriss", "neutral", "oracle", "random_walk")
STRATEGIC = ("strategic_oracle", "strategic_random_walk")  # of `strategic_v0`, over the book
TASKS = ANALYTIC + STRATEGIC
SEEDS = 3

_HERE = Path(__file__).parent
_COMMON, _OF_STRATEGIC = "common", "strategic"

Figure = Literal["share", "gap_share", "excess_cost", "turnover"]


class JudgingConfig(Config):
    """How trained actors are judged: by their modes, on episodes that no training saw."""

    episodes: PositiveInt = Field(8192, le=100_000)
    seed: NonNegativeInt = Field(0, le=1_000_000)
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    bootstrap_samples: int = Field(1_000, ge=100)


class StudyConfig(Config):
    """One training of the study."""

    market: AnalyticConfig
    mappo: MappoConfig = MappoConfig()
    judging: JudgingConfig = JudgingConfig()


class StrategicJudgingConfig(JudgingConfig):
    """How they are judged over the book: on bars after those that were trained on.

    script_episodes: in which the book's costs are measured.
    cluster_days: episodes that begin within so many days are resampled together; several times
        as long as an episode, since episodes overlap.
    """

    script_episodes: PositiveInt = Field(512, le=100_000)
    cluster_days: PositiveInt = 8


class StrategicStudyConfig(Config):
    """One training of the study in `strategic_v0`."""

    env: StrategicConfig
    mappo: MappoConfig = MappoConfig()
    judging: StrategicJudgingConfig = StrategicJudgingConfig()


Study = StudyConfig | StrategicStudyConfig


@dataclass(frozen=True)
class Target:
    """What a task must show, as the mean over seeds.

    figure: "share" is utility over the optimum's, a flat position being worth 0; "gap_share"
        the part of the way from TWAP to the optimum; "excess_cost" the cost above the optimum's,
        over the optimum's; "turnover" what is traded a bar, share of the limit.
    wanted: at least this of shares, at most this of the others.
    """

    figure: Figure
    wanted: float
    what: str

    @property
    def at_least(self) -> bool:
        return self.figure in ("share", "gap_share")

    def met(self, value: float) -> bool:
        return value >= self.wanted if self.at_least else value <= self.wanted


TARGETS = {
    "ar1": Target("share", 0.90, "share of the optimum"),
    "ar1_cost": Target("share", 0.90, "share of the optimum"),
    "regime": Target("share", 0.85, "share of the Bayes filter's optimum"),
    "almgren_chriss": Target("gap_share", 0.90, "share of the way from TWAP to the optimum"),
    "neutral": Target("excess_cost", 0.02, "cost above TWAP's, over TWAP's (lambda 0)"),
    "oracle": Target("share", 0.80, "share of the optimum given the same feature"),
    # A hundredth of the limit a bar is less than a tenth of one step.
    "random_walk": Target("turnover", 0.01, "turnover a bar, share of the limit"),
    "strategic_oracle": Target("share", 0.80, "share of the optimum given the same feature"),
    "strategic_random_walk": Target("turnover", 0.01, "turnover a bar, share of the limit"),
}


def settings(task: str, seed: int, frames: int | None = None, episodes: int | None = None) -> Study:
    """The settings of one training: what tasks share, then the task's own file.

    frames: environment steps of all its environments together. episodes: that it is judged
    on. None takes the files'.

    Raises:
        ConfigError: a number is out of its range.
    """
    overrides = [f"mappo.seed={seed}"]
    if frames is not None:
        overrides.append(f"mappo.stop.env_steps={frames}")
    if episodes is not None:
        overrides.append(f"judging.episodes={episodes}")
    if task in STRATEGIC:
        return load_config(
            StrategicStudyConfig, *_files(_COMMON, _OF_STRATEGIC, task), overrides=overrides
        )
    return load_config(StudyConfig, *_files(_COMMON, task), overrides=overrides)


def _files(*names: str) -> list[Path]:
    return [_HERE / f"{name}.yaml" for name in names]

"""A sweep: which settings of a layer's training are searched, by what score, on what budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from configs.base import Config
from configs.errors import ConfigError
from configs.loading import load_config, shipped
from configs.train import MAX_SEED
from configs.yaml_text import read_document

SCORED_ON: Literal["validation"] = "validation"


class FloatRange(Config):
    """A number between `low` and `high`, both included."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool = Field(False, description="drawn evenly on the logarithmic scale")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        return self


class IntRange(Config):
    """A whole number between `low` and `high`, both included."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    step: PositiveInt = 1
    log: bool = Field(False, description="drawn evenly on the logarithmic scale; only with step 1")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"step={self.step} with log=true: expected 1")
        return self


class Choice(Config):
    """One of some values, in no order; a value may be a list or a mapping."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...] = Field(min_length=2)


def _check_ends(low: float, high: float, log: bool) -> None:
    if low >= high:
        raise ValueError(f"low={low} and high={high}: expected low below high")
    if log and low <= 0:
        raise ValueError(f"low={low} with log=true: expected above 0")


Searched = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class GoalConfig(Config):
    """What a trial is scored by: a statistic, over held-out episodes, of one of their metrics."""

    metric: str = Field(min_length=1)
    statistic: Literal["mean", "deviation"] = "mean"
    direction: Literal["minimize", "maximize"]

    @property
    def name(self) -> str:
        """What it is called in tables and plots."""
        return self.metric if self.statistic == "mean" else f"{self.statistic} of {self.metric}"


class ScoreConfig(Config):
    """The episodes that every trial is scored on: the same for all, none of them a test's.

    folds: 0 trains on the training split and scores on the validation split. More train anew on
    each of the first so many folds of the bars before the test split (splits.walk_forward), and
    score on what that fold holds out, purged and embargoed; the score is the mean over folds, and
    a trial costs as many trainings. Of layers that play on bars.
    """

    split: str = SCORED_ON
    folds: NonNegativeInt = 0
    episodes: PositiveInt = 1_024
    batch_size: int = Field(default=256, ge=2)

    @field_validator("split")
    @classmethod
    def _never_the_test(cls, split: str) -> str:
        if split == "test":
            raise ValueError(
                f"expected {SCORED_ON}: what a search is scored on it is tuned to, and the test "
                "split would have nothing left to say about the result"
            )
        if split != SCORED_ON:
            raise ValueError(f"expected {SCORED_ON}")
        return split

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        if self.batch_size % 2:
            raise ValueError("batch_size must be even: both sides of a path are played together")
        return self


class PruningConfig(Config):
    """Trials that their training's curve shows to lag behind are ended early.

    Of one goal alone. The curve is the mean of the first goal's metric over the training
    episodes that ended since the last report; `reports` of them are made, at equal shares of
    the budget, so that trials of other batch sizes compare. A trial is pruned whose best
    report so far is not among the best `keep_share` of the others' at the same share.
    """

    enabled: bool = True
    reports: int = Field(default=10, ge=2)
    keep_share: float = Field(default=0.5, gt=0.0, lt=1.0)
    startup_trials: NonNegativeInt = Field(5, description="finished before any is pruned")
    warmup_reports: NonNegativeInt = Field(3, description="of a trial before it may be pruned")


class RungsConfig(Config):
    """Successive budgets, of several goals, which Optuna does not prune.

    All trials train on the smallest budget; `1/factor` of them, the best by Pareto rank and,
    within a rank, by crowding distance (Deb et al., "NSGA-II", 2002), train anew on `factor`
    times as much, and so on up to the sweep's `env_steps`.
    """

    count: PositiveInt = 3
    factor: float = Field(default=3.0, gt=1.0)


class StorageConfig(Config):
    """How workers that share a study notice one that died."""

    heartbeat_s: PositiveInt = 30
    grace_s: PositiveInt = Field(
        120, description="without a heartbeat until a trial counts as dead"
    )
    retries: NonNegativeInt = Field(3, description="of a trial whose process died")

    @model_validator(mode="after")
    def _grace_is_longer(self) -> Self:
        if self.grace_s <= self.heartbeat_s:
            raise ValueError(
                f"grace_s={self.grace_s} with heartbeat_s={self.heartbeat_s}: expected more"
            )
        return self


class SweepConfig(Config):
    """One sweep over a layer's training.

    layer: whose. space: by dotted path of its configuration, what is searched. env_steps:
    that a trial trains for; `minutes` ends a slower one, which is scored as it is. trials: of
    the smallest budget. startup_trials: drawn at random before TPE models them (Bergstra et
    al., "Algorithms for Hyper-Parameter Optimization", 2011). seed: of the suggestions; the
    trainings' own is that of their configuration.
    """

    layer: str
    space: dict[str, Searched] = Field(min_length=1)
    goals: tuple[GoalConfig, ...] = Field(min_length=1)
    env_steps: PositiveInt
    minutes: PositiveFloat | None = None
    trials: PositiveInt = 50
    startup_trials: PositiveInt = 10
    score: ScoreConfig = ScoreConfig()
    pruning: PruningConfig = PruningConfig()
    rungs: RungsConfig = RungsConfig()
    storage: StorageConfig = StorageConfig()
    seed: NonNegativeInt = Field(default=0, le=MAX_SEED)

    @model_validator(mode="after")
    def _goals_differ(self) -> Self:
        names = [goal.name for goal in self.goals]
        if len(set(names)) < len(names):
            raise ValueError(f"goals are {', '.join(names)}, expected each once")
        return self

    @property
    def budgets(self) -> tuple[int, ...]:
        """Environment steps of a trial on each rung; a single one where there is one goal."""
        rungs = self.rungs.count if len(self.goals) > 1 else 1
        shares = [self.rungs.factor ** (number + 1 - rungs) for number in range(rungs)]
        return tuple(max(1, round(self.env_steps * share)) for share in shares)


def load_sweep_config(
    layer: str, space: str | None, overrides: Sequence[str], trials: int | None, seed: int | None
) -> SweepConfig:
    """The sweep of `layer`: its shipped file, another shipped one's name, or a file.

    A file is laid over the layer's own; its `space`, where it has one, takes the place of it.

    Raises:
        ConfigError: see `configs.loading.load_config`; there is no such file; or it is of
            another layer.
    """
    sources = _sources(layer, space)
    for number, told in (("trials", trials), ("seed", seed)):
        if told is not None:
            overrides = [*overrides, f"{number}={told}"]
    try:
        config = load_config(SweepConfig, *sources, overrides=overrides)
    except ConfigError as error:  # on the command line it is another option than the training's
        raise ConfigError(str(error).replace("--set ", "--sweep ")) from None
    if config.layer != layer:
        raise ConfigError(
            f"the sweep '{space}' is of the layer {config.layer}, expected {layer}: run "
            f"`grandmodel sweep {config.layer} --space {space}`"
        )
    return config


def _sources(layer: str, space: str | None) -> list[Path | Mapping[str, Any]]:
    if space is None:
        return [shipped("sweeps", layer)]
    if not space.endswith((".yaml", ".yml")):
        return [shipped("sweeps", space)]
    base = read_document(shipped("sweeps", layer)).tree
    given = read_document(Path(space))
    if "space" in given.tree:
        base = {key: value for key, value in base.items() if key != "space"}
    return [base, Path(space)]

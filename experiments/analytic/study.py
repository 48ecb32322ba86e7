"""One training of the study: trained, judged against the best policy, and kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from configs.analytic import AnalyticConfig
from configs.errors import TrainingError
from experiments import studies
from experiments.analytic.playing import Floats, Played, Share, play, share_of
from experiments.analytic.policies import Decides, GreedyPolicy, TablePolicy, best, rules_of
from experiments.analytic.settings import (
    TARGETS,
    Figure,
    JudgingConfig,
    StrategicStudyConfig,
    Study,
    StudyConfig,
)
from experiments.analytic.strategic import StrategicJudge
from market.analytic.optimum import Solution, problem_of, solve
from market.analytic.terms import BP
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.progress import TrainingProgress
from trainers.train import TrainResult, train

MAKE, MAKE_STRATEGIC = "envs.analytic:make_batched", "envs.strategic:make_batched"
UTILITY, TURNOVER = "steady_utility_bp", "turnover"
_SHOWN = (("utility_bp", "utility, bp", "{:.2f}"), (TURNOVER, "turnover", "{:.3f}"))
_SHOWN_STRATEGIC = (("return_bp", "return, bp", "{:.2f}"), (TURNOVER, "turnover", "{:.3f}"))


@dataclass(frozen=True)
class SeedResult:
    """What one training showed; utilities are basis points of a full position an episode.

    figure: what the task is judged by, with its interval over episodes. utility, optimum: of
    the actors by their modes and of the best policy, on the same episodes; expected: the latter
    by backward induction. rules: the figure of simple rules, by name. details: what else was
    measured, such as the book's costs.
    """

    task: str
    seed: int
    frames: int
    minutes: float
    figure: Share
    utility: float
    optimum: float
    expected: float
    turnover: float
    rules: dict[str, float]
    config: dict[str, Any]
    made: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeedResult:
        """What `asdict` gave."""
        return cls(**{**data, "figure": Share(**data["figure"])})


@lru_cache(maxsize=1)
def solution_of(market: AnalyticConfig) -> Solution:
    """The best policy of a market, kept for the next one who asks."""
    return solve(problem_of(market))


class Judges(Protocol):
    """Plays policies and the best one on the same episodes.

    utility: the metric that policies are judged by. optimum, expected: see `SeedResult`.
    """

    utility: str
    optimum: Played

    @property
    def expected(self) -> float: ...

    def play(self, policy: Decides) -> Played: ...

    def judge(self, played: Played) -> Share: ...

    def rules(self) -> dict[str, float]: ...

    def details(self, played: Played) -> dict[str, Any]: ...


class Judge:
    """A task's best policy and rules, played once on the episodes that all actors play."""

    utility = UTILITY

    def __init__(self, task: str, market: AnalyticConfig, judging: JudgingConfig) -> None:
        self.market, self.judging = market, judging
        self.figure: Figure = TARGETS[task].figure
        self.solution = solution_of(market)
        self.optimum = self.play(best(self.solution))
        problem = self.solution.problem
        self._rules = {
            name: self.play(TablePolicy(problem, policy))
            for name, policy in rules_of(problem).items()
        }

    def play(self, policy: Decides) -> Played:
        return play(self.market, policy, self.judging.episodes, self.judging.seed)

    def judge(self, played: Played) -> Share:
        """The task's figure, with its interval."""
        found, most = played.of(UTILITY), self.optimum.of(UTILITY)
        if self.figure == "turnover":
            traded = played.of(TURNOVER)
            return self._ratio(traded, traded * 0.0 + 1.0)
        if self.figure == "gap_share":
            evenly = self._rules["twap"].of(UTILITY)
            return self._ratio(found - evenly, most - evenly)
        if self.figure == "excess_cost":
            return self._ratio(most - found, -most)
        return self._ratio(found, most)

    def rules(self) -> dict[str, float]:
        """The figures of simple rules."""
        return {name: self.judge(played).value for name, played in self._rules.items()}

    @property
    def expected(self) -> float:
        """The optimum by backward induction, bp."""
        return BP * self.solution.expected

    def details(self, played: Played) -> dict[str, Any]:
        """Nothing more."""
        del played
        return {}

    def _ratio(self, gained: Floats, possible: Floats) -> Share:
        told = self.judging
        return share_of(gained, possible, told.confidence, told.bootstrap_samples, told.seed)


_judge = lru_cache(maxsize=1)(Judge)
_strategic_judge = lru_cache(maxsize=1)(StrategicJudge)


def judge_of(task: str, config: Study) -> Judges:
    """The judge of a task, kept for its next seed."""
    if isinstance(config, StrategicStudyConfig):
        return _strategic_judge(TARGETS[task].figure, config.env, config.judging)
    return _judge(task, config.market, config.judging)


def seed_result(task: str, config: Study, path: Path, force: bool = False) -> SeedResult:
    """The result of one seed: as it is kept in `path`, or trained for, from where it stopped.

    force: forget what is there and train anew.

    Raises:
        TrainingError: `path` holds a training by other settings, or training failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    if force:
        _forget(path)
    kept = kept_result(path)
    if kept is not None:
        if type(config).model_validate(kept.config) != config:
            raise TrainingError(
                f"{path} holds a training by other settings (of the study's files, --frames or "
                "--episodes): add --force to train anew, or choose another --output"
            )
        return kept
    result = _train(task, config, path)
    if result.interrupted:
        raise KeyboardInterrupt
    found = _result(task, config, result)
    studies.keep(path, asdict(found))
    return found


def kept_result(path: Path) -> SeedResult | None:
    """The finished result in a seed's folder; None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    return studies.kept(path, SeedResult.from_dict, "add --force to train anew")


def _forget(path: Path) -> None:
    """Remove a training of ours, and nothing else."""
    if (path / studies.RESULT_FILE).is_file() or latest_checkpoint(path) is not None:
        shutil.rmtree(path)
    elif path.exists():
        raise TrainingError(
            f"{path} is no training of this study ({studies.RESULT_FILE} and checkpoints are "
            "missing): move it away, or choose another --output"
        )


def _train(task: str, config: Study, path: Path) -> TrainResult:
    if isinstance(config, StudyConfig):
        make, told, metrics = MAKE, config.market.model_dump(mode="json"), _SHOWN
    else:
        make, told, metrics = MAKE_STRATEGIC, config.env.model_dump(mode="json"), _SHOWN_STRATEGIC
    resume = latest_checkpoint(path) is not None
    with TrainingProgress(metrics, title=f"{task}, seed {config.mappo.seed}") as shown:
        return train(
            config.mappo, make, {"config": told}, path, resume=resume, on_iteration=shown.update
        )


def _result(task: str, config: Study, result: TrainResult) -> SeedResult:
    judge = judge_of(task, config)
    played = judge.play(GreedyPolicy(result.policy))
    return SeedResult(
        task=task,
        seed=config.mappo.seed,
        frames=result.env_steps,
        minutes=result.minutes,
        figure=judge.judge(played),
        utility=played.mean(judge.utility),
        optimum=judge.optimum.mean(judge.utility),
        expected=judge.expected,
        turnover=played.mean(TURNOVER),
        rules=judge.rules(),
        config=config.model_dump(mode="json"),
        made=studies.made(),
        details=judge.details(played),
    )

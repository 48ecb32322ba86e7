"""Alarms on collapse and the end of a training that no longer improves."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import TrainingError
from configs.mappo import StopConfig
from configs.monitoring import AlarmConfig, PatienceConfig
from tests.trainers.rays import local_ray
from tests.trainers.test_train import MAKE, tiny
from tests.trainers.toy_env import toy_layout
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.mappo.plan import TeamPlan, plan_training
from trainers.monitoring import Alarms, Patience, Validation, patience_of
from trainers.train import IterationReport, train

FINE = {"entropy": 1.0, "kl": 0.01, "explained_variance": 0.5}


@pytest.fixture(scope="module")
def plan() -> TeamPlan:
    return plan_training(toy_layout(), tiny(1))


@pytest.fixture
def alarms(plan: TeamPlan) -> Alarms:
    return Alarms(AlarmConfig(iterations=3, warmup_iterations=2), plan)


def raised(alarms: Alarms, begin: int, count: int, **figures: float) -> list[set[str]]:
    """The alarms of `count` iterations with these figures."""
    return [
        {name for name, on in alarms.look(begin + k, FINE | figures).items() if on}
        for k in range(count)
    ]


def test_nothing_is_raised_by_a_training_that_learns(alarms: Alarms) -> None:
    assert raised(alarms, 1, 20) == [set()] * 20


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("kl", 0.5, "KL of 0.5"),
        ("explained_variance", -0.2, "critic explains -0.2"),
        ("entropy", -100.0, "hardly explores"),
    ],
)
def test_a_collapse_is_said_once_and_marked_as_long_as_it_lasts(
    alarms: Alarms, caplog: pytest.LogCaptureFixture, figure: str, value: float, said: str
) -> None:
    raised(alarms, 1, 5)
    with caplog.at_level(logging.WARNING):
        assert raised(alarms, 6, 2, **{figure: value}) == [set()] * 2
        assert raised(alarms, 8, 4, **{figure: value}) == [{f"alarm_{figure}"}] * 4
    assert len(caplog.records) == 1
    assert said in caplog.text and "3 iterations in a row" in caplog.text
    assert raised(alarms, 12, 1) == [set()]  # rests as soon as the sign goes
    assert raised(alarms, 13, 2, **{figure: value}) == [set()] * 2


def test_a_critic_may_be_bad_at_first(alarms: Alarms) -> None:
    assert raised(alarms, 1, 4, explained_variance=-1.0) == [set()] * 4
    assert raised(alarms, 5, 1, explained_variance=-1.0) == [{"alarm_explained_variance"}]


def test_alarms_can_be_turned_off(plan: TeamPlan) -> None:
    assert Alarms(AlarmConfig(enabled=False), plan).look(1, FINE) == {}


def patience(scores: int, lower: bool, least: float = 0.0) -> tuple[Patience, list[float]]:
    told: list[float] = []
    config = PatienceConfig(scores=scores, evaluate_every=2, least=least)
    return Patience(config, Validation(lambda _: told.pop(0), lower), 0), told


@pytest.mark.parametrize(
    ("lower", "scores", "ends"),
    [
        (True, [5.0, 4.0, 4.5, 4.1, 3.9, 4.0, 4.0, 4.0], 8),
        (False, [1.0, 2.0, 1.5, 2.0, 1.0], 5),
        (True, [5.0, 4.0, 3.0, 2.0], None),
    ],
)
def test_patience_ends_after_scores_that_do_not_improve(
    lower: bool, scores: list[float], ends: int | None
) -> None:
    watch, told = patience(3, lower)
    told += scores
    ended = None
    for number in range(1, len(scores) + 1):
        assert watch.look(2 * number - 1, dict) == {}
        assert watch.look(2 * number, dict) == {"validation_score": scores[number - 1]}
        if watch.ended and ended is None:
            ended = number
    assert ended == ends


def test_a_score_that_is_none_stops_the_training() -> None:
    watch, told = patience(3, True)
    told.append(math.nan)
    with pytest.raises(TrainingError, match="validation score of iteration 2 is nan"):
        watch.look(2, dict)


def test_scores_of_earlier_sittings_count_up_to_the_checkpoint() -> None:
    config = PatienceConfig(scores=2, evaluate_every=1)
    rows = [{"iteration": float(k), "validation_score": 1.0} for k in range(1, 6)]
    assert Patience(config, Validation(lambda _: 0.0, True, rows), 2).ended is None
    assert Patience(config, Validation(lambda _: 0.0, True, rows), 3).ended is not None


def test_patience_without_validation_is_refused() -> None:
    config = tiny(1, stop=StopConfig(iterations=1, patience=PatienceConfig()))
    with pytest.raises(TrainingError, match=r"mappo\.stop\.patience is set"):
        patience_of(config, None, 0)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.mark.usefixtures("_ray")
def test_a_training_ends_by_patience_with_a_checkpoint(tmp_path: Path) -> None:
    stop = StopConfig(iterations=50, patience=PatienceConfig(scores=2, evaluate_every=1))
    reports: list[IterationReport] = []
    result = train(
        tiny(50, stop=stop),
        MAKE,
        {},
        tmp_path,
        on_iteration=reports.append,
        validation=Validation(lambda _: 1.0, lower_is_better=True),
    )
    assert result.iterations == 3 and not result.interrupted
    assert "no validation score in 2 has improved on 1" in str(result.ended)
    assert [r.watched["validation_score"] for r in reports] == [1.0] * 3
    assert all(r.watched["alarm_kl"] == 0.0 for r in reports)
    assert latest_checkpoint(tmp_path) == result.checkpoint


@pytest.mark.usefixtures("_ray")
def test_a_caller_may_end_a_training(tmp_path: Path) -> None:
    def on_iteration(report: IterationReport) -> str | None:
        return "enough" if report.iteration == 2 else None

    result = train(tiny(50), MAKE, {}, tmp_path, on_iteration=on_iteration)
    assert (result.iterations, result.ended, result.interrupted) == (2, "enough", False)
    assert latest_checkpoint(tmp_path) is not None

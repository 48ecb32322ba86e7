"""Trials scored on purged folds: which trainings they are made of, and what their score is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.loading import dump_yaml
from configs.sweep import load_sweep_config
from configs.train import LayerTraining, load_train_config
from tests.trainers.rays import local_ray
from tests.trainers.upstreams import STRATEGIC_ENV
from trainers import held_out
from trainers.explain import weights_of
from trainers.layers import LAYERS
from trainers.mappo.plan import POLICY
from trainers.sweeps.trial import LayerTrials, fold_settings
from trainers.sweeps.work import Task
from trainers.torch_actor import TorchActor

EPISODES = 8


def settings() -> LayerTraining:
    told = (
        "mappo.runners=0",
        "mappo.num_envs=4",
        "mappo.rollout_length=12",
        "mappo.stagger=0",
        "mappo.minibatches=2",
        "mappo.epochs=1",
        "mappo.policy.hidden=[8]",
        "mappo.critic.hidden=[8]",
        "tracking.enabled=false",
    )
    config = load_train_config("strategic", ["mlp"], [], told, 0)
    return type(config).model_validate(
        config.model_dump(mode="json") | {"env": dict(STRATEGIC_ENV, study={})}
    )


def test_folds_are_those_of_the_walk_forward_and_hold_out_what_they_do_not_train_on() -> None:
    config = settings()
    assert fold_settings(config, config.env, 0) == [config]
    parts = fold_settings(config, config.env, 3)
    assert [part.env.series.fold for part in parts] == [0, 1, 2]  # type: ignore[union-attr]
    layer = LAYERS["strategic"]
    tested = layer.judging_env(2, 0, config.env, "test").arrays.starts  # type: ignore[attr-defined]
    for part in parts:
        trained = layer.judging_env(2, 0, part.env, "train").arrays.starts  # type: ignore[attr-defined]
        judged = layer.judging_env(2, 0, part.env, "validation").arrays.starts  # type: ignore[attr-defined]
        # An episode's bars and the purge lie between.
        assert trained.max() + STRATEGIC_ENV["horizon_bars"] < judged.min()
        assert judged.max() + STRATEGIC_ENV["horizon_bars"] < tested.min()
    with pytest.raises(ConfigError, match=r"score.folds=9 .* at most env.series.walk_forward's 5"):
        fold_settings(config, config.env, 9)
    execution = load_train_config("execution", [], [], [], None)
    with pytest.raises(ConfigError, match="no dates to walk along"):
        fold_settings(execution, execution.env, 2)


@pytest.fixture
def _ray() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_trials_score_is_the_mean_over_its_folds(tmp_path: Path) -> None:
    config = settings()
    base = tmp_path / "config.yaml"
    base.write_text(dump_yaml(config))
    told = ["score.folds=2", f"score.episodes={EPISODES}", f"score.batch_size={EPISODES}"]
    sweep = load_sweep_config("strategic", None, [*told, "env_steps=96"], None, None)
    trials = LayerTrials(sweep, base, config.env, tmp_path / "trials", "sweep", None)
    notes: dict[str, Any] = {}
    reports: list[int] = []

    def reported(step: int, value: float) -> bool:
        reports.append(step)
        return False

    values = trials(Task(0, 0, 96, {"mappo.learning_rate": 1e-3}, reported, notes.__setitem__))
    assert values is not None and notes["env_steps"] == 2 * 96
    assert reports == sorted(reports) and max(reports) == sweep.pruning.reports
    scores = []
    for number, part in enumerate(fold_settings(config, config.env, 2)):
        policy = weights_of(tmp_path / "trials" / "rung-0" / "trial-0000" / f"fold-{number}")
        told_of = held_out.validation(config.evaluation, EPISODES, EPISODES)
        actors = {POLICY: TorchActor(policy)}
        match = held_out.play(part, part.env, actors, told_of, "validation")
        scores.append(match.metric(POLICY, sweep.goals[0].metric).mean())
    assert values[0] == np.mean(scores)

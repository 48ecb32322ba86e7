"""Search spaces against the real configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FixedTrial

from configs.errors import ConfigError
from configs.loading import dump_yaml, load_config, shipped, shipped_names
from configs.sweep import SweepConfig
from configs.train import load_train_config
from tests.trainers.sweeps.studies import sweep_config
from trainers.sweeps.rungs import best_first, pareto
from trainers.sweeps.space import check_space, overrides_of, suggest, with_params


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(load_train_config("execution", [], [], [], None)))
    return path


@pytest.mark.parametrize("name", shipped_names("sweeps"))
def test_what_is_shipped_can_be_searched(name: str, tmp_path: Path) -> None:
    sweep = load_config(SweepConfig, shipped("sweeps", name))
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(load_train_config(sweep.layer, [], [], [], None)))
    check_space(sweep, path)


@pytest.mark.parametrize(
    ("key", "searched", "said"),
    [
        (
            "mappo.lerning_rate",
            {"kind": "float", "low": 0.1, "high": 0.2},
            "space.mappo.lerning_rate of the sweep: .*unknown key 'lerning_rate' under 'mappo'; "
            "did you mean 'learning_rate'",
        ),
        ("mappo.gamma", {"kind": "float", "low": 0.9, "high": 1.1}, "expected <= 1"),
        ("mappo.epochs", {"kind": "choice", "values": [4, "many"]}, "expected an integer"),
        ("mappo.stop.env_steps", {"kind": "int", "low": 1, "high": 9}, "cannot be searched"),
        ("mappo.runners", {"kind": "int", "low": 0, "high": 2}, "cannot be searched"),
        ("evaluation.seed", {"kind": "int", "low": 0, "high": 9}, "cannot be searched"),
        ("env.market.tick", {"kind": "float", "low": 0.1, "high": 1.0}, "cannot be searched"),
        ("seed", {"kind": "int", "low": 0, "high": 9}, "cannot be searched"),
    ],
)
def test_a_key_that_cannot_be_searched_is_named(
    base: Path, key: str, searched: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_space(sweep_config(space={key: searched}), base)


def test_parameters_reach_the_configuration_as_they_are(base: Path) -> None:
    params = {
        "mappo.learning_rate": 1e-05,
        "mappo.epochs": 3,
        "mappo.policy.hidden": "[32, 16]",
        "mappo.normalize_advantages": '"none"',
    }
    config = with_params("execution", base, overrides_of(params))
    assert config.mappo.learning_rate == 1e-5
    assert (config.mappo.epochs, config.mappo.policy.hidden) == (3, (32, 16))
    assert config.mappo.normalize_advantages == "none"


def test_the_order_of_a_file_is_nothing() -> None:
    space = {
        "mappo.clip": {"kind": "float", "low": 0.1, "high": 0.3},
        "mappo.adam_epsilon": {"kind": "float", "low": 1e-8, "high": 1e-5, "log": True},
    }
    drawn = FixedTrial({"mappo.clip": 0.2, "mappo.adam_epsilon": 1e-6})
    assert list(suggest(drawn, sweep_config(space=space).space)) == sorted(space)


def test_pareto_ranks_come_before_crowding() -> None:
    losses = np.array([[0.0, 3.0], [3.0, 0.0], [1.0, 1.0], [2.0, 2.0], [1.1, 1.0], [9.0, 9.0]])
    assert pareto(losses).tolist() == [True, True, True, False, False, False]
    order = best_first(losses)
    assert set(order[:3]) == {0, 1, 2} and order[3:] == [4, 3, 5]
    assert set(order[:2]) == {0, 1}  # the ends of a front are the loneliest

"""The splits that policies are chosen and judged on cannot be reached from a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from tests.trainers.toy_env import ToyEnv
from trainers.mappo.config import MAPPOConfig
from trainers.train import train

HERE = "tests.trainers.test_unseen:toy"
EXECUTION = "envs.execution:make_batched"
MADE: list[str] = []


def toy(num_envs: int, seed: int, split: str = "train", config: Any = None) -> ToyEnv:
    MADE.append(split)
    return ToyEnv(num_envs, seed)


def stages(*kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"stages": [{"name": f"stage {k}", "kwargs": told} for k, told in enumerate(kwargs)]}


@pytest.mark.parametrize("split", ["test", "validation", "TEST"])
@pytest.mark.parametrize("make", [HERE, EXECUTION])
def test_a_batched_environment_is_refused_before_it_is_made(make: str, split: str) -> None:
    MADE.clear()
    message = rf"'{make}': split='{split}' in a training config.*: expected 'train'.*leave it out"
    with pytest.raises(TrainingError, match=message):
        MAPPOConfig().batched_env(make, {"split": split})
    assert MADE == []


def test_a_parallel_environment_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"kwargs\.split='test' in a training"):
        MAPPOConfig().parallel_env("tests.trainers.team_envs:guess", split="test")


def test_a_stage_of_the_curriculum_is_refused_whenever_it_is_told() -> None:
    curriculum = stages({}, {"config": {"data": {"split": "test"}}})
    with pytest.raises(TrainingError, match=r"config\.data\.split='test'"):
        MAPPOConfig().mappo(curriculum=curriculum).batched_env(HERE)
    named = MAPPOConfig().batched_env(HERE)
    with pytest.raises(TrainingError, match=r"config\.data\.split='test'"):
        named.mappo(curriculum=curriculum)


def test_a_training_ends_before_it_writes_anything(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"split='test' in a training configuration"):
        train(MappoConfig(), HERE, {"split": "test"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_training_split_is_taken_and_so_are_other_words() -> None:
    for told in ({}, {"split": "train"}, {"config": {"name": "test", "split": None}}):
        MADE.clear()
        config = MAPPOConfig().batched_env(HERE, told)
        assert MADE == ["train"]
        assert config.env_config["stages"] == [told]

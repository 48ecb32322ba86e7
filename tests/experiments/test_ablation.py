"""The ablation study: arms differ by what they are named after, and effects are paired."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from configs.errors import TrainingError
from experiments.ablation import __main__ as command
from experiments.ablation.results import LayerResult, table
from experiments.ablation.settings import PLAIN, ablation, training
from experiments.ablation.study import SeedResult, kept_result, seed_result
from experiments.studies import RESULT_FILE, write_parts

STUDY = ablation()


def result(arm: str, seed: int, values: tuple[float, ...], layer: str = "execution") -> SeedResult:
    return SeedResult(layer, arm, seed, 10, 0.1, values, {}, {})


@pytest.mark.parametrize("layer", STUDY.layers)
def test_arms_differ_from_plain_by_their_own_part_alone(layer: str) -> None:
    def flat(arm: str) -> dict[str, object]:
        policy = training(STUDY, layer, arm, 3).mappo.policy.model_dump()
        communication = policy.pop("communication")
        return {**policy, "rounds": communication["rounds"]}

    plain = flat(PLAIN)
    assert plain["conditioned"] is False and plain["states"] == 1 and plain["rounds"] == 0
    own = {"superposition": "states", "communication": "rounds", "sequence": "conditioned"}
    assert {PLAIN, *own} == set(STUDY.arms)
    for arm, part in own.items():
        changed = {key for key, value in flat(arm).items() if value != plain[key]}
        assert changed == {part}


@pytest.mark.parametrize("layer", STUDY.layers)
def test_arms_of_a_seed_train_and_play_on_the_same_chance(layer: str) -> None:
    configs = [training(STUDY, layer, arm, 3) for arm in STUDY.arms]
    for config in configs:
        assert config.mappo.seed == 3
        assert config.env == configs[0].env
        assert config.evaluation == configs[0].evaluation
        assert config.mappo.stop == configs[0].mappo.stop
        assert config.evaluation.min_parents == STUDY.episodes[layer]


def test_effects_are_paired_by_seed() -> None:
    rng = np.random.default_rng(0)
    gains = rng.normal(0.5, 0.1, 8)
    trainings = []
    for seed, gain in enumerate(gains):
        base = rng.normal(10.0 * seed, 1.0, 20)  # seeds lie far apart, arms close together
        trainings += [
            result(PLAIN, seed, tuple(base)),
            result("sequence", seed, tuple(base - gain)),
        ]
    trainings.append(result("sequence", 99, (0.0,)))  # without a plain one beside it
    plain, effect = LayerResult("execution", tuple(trainings)).effects
    assert (plain.effect, plain.low, plain.better) == (0.0, None, 0)
    assert effect.seeds == tuple(range(8))
    assert effect.effect == pytest.approx(-gains.mean())
    interval = stats.ttest_1samp(-gains, 0.0).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
    assert effect.better == 8  # a lower shortfall is better


def test_more_is_better_of_returns() -> None:
    trainings = (result(PLAIN, 0, (1.0,), "strategic"), result("sequence", 0, (2.0,), "strategic"))
    _, effect = LayerResult("strategic", trainings).effects
    assert (effect.effect, effect.low, effect.better) == (1.0, None, 1)


def test_what_is_written_holds_means_and_no_episodes(tmp_path: Path) -> None:
    found = LayerResult("execution", (result(PLAIN, 0, (1.0, 3.0)),))
    (path,) = write_parts([found], tmp_path / "new")
    data = json.loads(path.read_text())
    assert data["trainings"][0]["mean"] == 2.0
    assert data["trainings"][0]["episodes"] == 2
    assert "values" not in data["trainings"][0]
    assert table(found).row_count == 1


def test_a_kept_training_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / RESULT_FILE).write_text(
        json.dumps({**vars(result(PLAIN, 0, (1.0,))), "config": {"seed": 5}})
    )
    assert kept_result(tmp_path).config == {"seed": 5}
    with pytest.raises(TrainingError, match="other settings"):
        seed_result(STUDY, "execution", PLAIN, 0, tmp_path)
    (tmp_path / RESULT_FILE).write_text("{")
    with pytest.raises(TrainingError, match="cannot be read"):
        kept_result(tmp_path)


def test_a_layer_that_is_not_studied_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["strategc"]) == 2
    assert "unknown layer 'strategc': expected one of" in capsys.readouterr().err


@pytest.mark.slow
def test_the_study_trains_plays_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = (
        "mappo.stop.env_steps=400",
        "mappo.num_envs=8",
        "mappo.rollout_length=25",
        "mappo.runners=0",
        "evaluation.batch_size=4",
    )
    small = STUDY.model_copy(
        update={
            "arms": {arm: STUDY.arms[arm] for arm in (PLAIN, "superposition")},
            "layers": {"execution": quick},
            "episodes": {"execution": 8},
        }
    )
    monkeypatch.setattr(command, "ablation", lambda: small)
    given = Namespace(layer="all", seeds=1, output=str(tmp_path))
    (found,) = command.run(given)
    assert {one.arm for one in found.trainings} == {PLAIN, "superposition"}
    assert all(len(one.values) == 8 for one in found.trainings)
    assert found.of(PLAIN)[0].values != found.of("superposition")[0].values
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(RESULT_FILE)}
    assert len(times) == 2
    (again,) = command.run(given)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(RESULT_FILE)} == times

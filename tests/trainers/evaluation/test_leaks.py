"""Each leak planted: the pipeline refuses it, or shows it. (More are tested where they live:
features in tests/signals/bars, splits in tests/market/test_splits, upstream in test_upstream.)
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cascade.artefact import MANIFEST_FILE, read_manifest
from configs.errors import ArtefactError, ConfigError, DataError
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.train import StrategicTraining, load_train_config
from envs.strategic import BatchedStrategic
from signals.noise import derive_seeds
from signals.strategic import BUY
from tests.trainers.paired_env import Constant, PairedEnv
from tests.trainers.upstreams import STRATEGIC_ENV, export_strategic, export_tactical
from trainers.bar_baselines import DirectionBaseline
from trainers.evaluate import EVALUATION_SEEDS
from trainers.evaluation.leaks import border_note, foresight
from trainers.evaluation.metrics import sharpe
from trainers.evaluation.significance import verdict
from trainers.evaluation.subject import Subject, check_unseen, checked_split, find_subject
from trainers.statistics import mean_interval

NOWHERE = "sqlite:///none.db"
DAYS = 504
CUTS = (300, 411)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_strategic(tmp_path_factory.mktemp("leaks") / "strategic")


def _subject(folder: Path, cache: Path) -> Subject:
    return find_subject(str(folder), layer=None, models="none", tracking_uri=NOWHERE, cache=cache)


def _walk() -> NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(0).standard_normal(500))


def _rolling(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """An honest feature: the price against the mean of the last 20."""
    padded = np.concatenate([np.full(19, prices[0]), prices])
    return prices - np.lib.stride_tricks.sliding_window_view(padded, 20).mean(axis=1)


def test_global_scaling_is_found() -> None:
    def scaled(prices: NDArray[np.float64]) -> NDArray[np.float64]:
        honest = _rolling(prices)
        return np.column_stack([honest, (honest - honest.mean()) / honest.std()])

    assert foresight(_rolling, _walk(), CUTS, 1e-12) is None
    found = foresight(scaled, _walk(), CUTS, 1e-12)
    assert found is not None
    assert (found.column, found.cut) == (1, CUTS[0])


def test_look_ahead_labels_are_found() -> None:
    def labelled(prices: NDArray[np.float64]) -> NDArray[np.float64]:
        ahead = np.sign(np.append(np.diff(prices), 0.0))
        return np.column_stack([_rolling(prices), ahead])

    found = foresight(labelled, _walk(), CUTS, 1e-12)
    assert found is not None
    assert (found.column, found.row) == (1, CUTS[0] - 1)
    with pytest.raises(DataError, match="one row for each of 500 bars"):
        foresight(lambda prices: prices[1:], _walk(), CUTS)


def test_a_column_that_shows_the_next_return_cannot_be_trained_on() -> None:
    with pytest.raises(ConfigError, match="may show the future"):
        load_config(StrategicTraining, {"env": {"study": {"next_return": True}}})


def test_orders_are_not_filled_at_the_close_that_was_decided_on() -> None:
    """The bar's move earned by an order that the close before it decided.

    Filled at that close it would be all of it, a slope of 1; worked over the bar it is half.
    """
    config = load_config(StrategicConfig, STRATEGIC_ENV)
    env = BatchedStrategic(config, 96, seed=3)
    env.reset()
    actions = DirectionBaseline(side=1).act(env.rows)
    assert (actions[:, 0] == BUY).all()
    places = env.arrays.world.places["bar"].copy()
    env.step(actions)
    accounts = env.arrays.accounts
    close = env.arrays.world.tape.ohlc[:, 3]
    whole = accounts["position"] * (close[places] - close[places - 1])
    assert (accounts["position"] > 0).all()
    slope = float((accounts["trading"] * whole).sum() / (whole * whole).sum())
    assert 0.25 < slope < 0.75


def test_choosing_on_the_test_split_is_shown_by_its_trials() -> None:
    """The best of 100 policies without skill, chosen on the very days that it is shown on."""
    panel = 0.01 * np.random.default_rng(6).standard_normal((DAYS, 100))
    best = panel[:, int(sharpe(panel).argmax())][:, None]
    assert verdict(best, trials=1).is_evidence
    assert not verdict(best, trials=100).is_evidence
    assert verdict(panel).probability == pytest.approx(verdict(best, trials=100).probability)


def test_the_split_that_was_trained_on_is_refused(artefact: Path, tmp_path: Path) -> None:
    subject = _subject(artefact, tmp_path)
    assert "no date is in both" in check_unseen(subject, "test")
    assert "it is no test" in check_unseen(subject, "validation")
    with pytest.raises(ArtefactError, match="expected dates that it has not seen"):
        check_unseen(subject, "train")
    with pytest.raises(ConfigError, match="--split tset"):
        checked_split("tset")
    generated = replace(subject, settings=load_train_config("execution", [], [], [], None))
    assert "seeds that training never draws" in check_unseen(generated, "test")
    for split in ("train", "validation"):
        with pytest.raises(ConfigError, match="no splits; expected --split test"):
            check_unseen(generated, split)


def test_a_policy_trained_on_the_test_dates_is_refused(artefact: Path, tmp_path: Path) -> None:
    honest = read_manifest(artefact).trained_on
    assert honest is not None
    later = honest.model_copy(update={"ends": datetime(2100, 1, 1, tzinfo=UTC)})
    seen = export_strategic(tmp_path / "seen", trained_on=later.model_dump(mode="json"))
    with pytest.raises(ArtefactError, match="expected dates that it has not seen"):
        check_unseen(_subject(seen, tmp_path), "test")
    silent = export_strategic(tmp_path / "silent", trained_on=None)
    with pytest.raises(ArtefactError, match="does not say which bars"):
        check_unseen(_subject(silent, tmp_path), "test")


def test_a_missing_embargo_is_told(artefact: Path, tmp_path: Path) -> None:
    subject = _subject(artefact, tmp_path)
    said = border_note(subject, "validation")
    assert said is not None
    assert said.startswith("EMBARGO: the validation split begins")
    honest = subject.manifest.trained_on
    assert honest is not None
    apart = honest.model_copy(update={"ends": honest.ends - timedelta(days=30)})
    manifest = subject.manifest.model_copy(update={"trained_on": apart})
    assert border_note(_with(subject, manifest=manifest), "validation") is None


def test_another_simulator_than_the_trainings_is_refused(artefact: Path, tmp_path: Path) -> None:
    other = _told(artefact, tmp_path / "other", {"env": {**STRATEGIC_ENV, "fills_at_close": True}})
    with pytest.raises(ArtefactError, match="in another simulator it would not be the same"):
        _subject(other, tmp_path)
    untold = _told(artefact, tmp_path / "untold", {"lot": 1})
    with pytest.raises(ArtefactError, match="has no 'env'"):
        _subject(untold, tmp_path)
    version = export_strategic(tmp_path / "version", env_id="strategic_v9")
    with pytest.raises(ArtefactError, match="strategic_v9"):
        _subject(version, tmp_path)
    assert any(
        "simulator's code may differ" in line for line in _subject(artefact, tmp_path).differences()
    )


def test_another_layer_above_than_the_trainings_is_refused(tmp_path: Path) -> None:
    trained_under = {"strategic": "0" * 64}
    lost = export_tactical(tmp_path / "lost", upstream=trained_under)
    with pytest.raises(ArtefactError, match="was trained under strategic 000000000000"):
        _subject(lost, tmp_path)


def test_seeds_of_evaluation_are_none_of_trainings() -> None:
    judged = np.arange(EVALUATION_SEEDS, EVALUATION_SEEDS + 100_000, dtype=np.uint64)
    for seed in range(3):
        for purpose in range(4):
            drawn = derive_seeds(seed, purpose, count=20_000)
            assert len(np.unique(drawn)) == len(drawn)
            assert not np.isin(drawn, judged).any()


def test_environments_that_share_a_seed_count_as_one() -> None:
    """Planted: 200 rows that play 20 seeds only. Rows are not what an interval counts."""
    env = PairedEnv(200)
    seeds = np.repeat(np.arange(20, dtype=np.uint64) * np.uint64(2), 10)
    env.reset(seeds=seeds)
    actor = Constant(0.2)
    while not env.terminations.all():
        env.step(actor.act(env.rows))
    cost = env.episode_metrics[:, env.metric_names.index("shortfall_bp")]
    told = {"confidence": 0.95, "samples": 500, "seed": 0}
    as_rows = mean_interval(cost, clusters=np.arange(200), **told)
    honest = mean_interval(cost, clusters=env.clusters, **told)
    assert honest.clusters == 20
    assert honest.half_width > 2.0 * as_rows.half_width
    with pytest.raises(DataError, match="single cluster"):
        mean_interval(cost, clusters=np.zeros(200), **told)


def _told(artefact: Path, folder: Path, config: dict[str, object]) -> Path:
    """A copy whose manifest says that it was trained with another configuration."""
    shutil.copytree(artefact, folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "config": config}))
    return folder


def _with(subject: Subject, **changed: object) -> Subject:
    return replace(subject, **changed)  # type: ignore[arg-type]

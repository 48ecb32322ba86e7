"""Layers under artefacts of those above: what is seen, that it is causal, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.artefact import MANIFEST_FILE, POLICY_FILE, read_manifest
from configs.errors import ArtefactError, ConfigError, DataError
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig, TiltConfig
from envs import tactical_v1
from envs.barwise.data import slow_data_of
from envs.barwise.fast import fast_data
from envs.execution import BatchedExecution
from envs.strategic import BatchedStrategic
from envs.tactical import BatchedTactical
from market.coarser_bars import coarser_bars
from market.synthetic import bars_of_columns
from signals.execution import CONTEXT, EXECUTION
from signals.regime import RegimeModel
from signals.said import SAID, STRATEGIC_SAID, strategic_said
from signals.superposition import DIRECTIONS, confidence
from signals.tactical import TACTICAL, TILTS, UPSTREAM_COLUMNS
from tests.trainers.upstreams import (
    EXECUTION_ENV,
    TACTICAL_ENV,
    execution_config,
    export_strategic,
    export_tactical,
    tactical_config,
)
from trainers.layers import LAYERS
from trainers.upstream import bars_above, make_execution, make_tactical, strategic_table
from trainers.upstream.artefacts import digests, frozen, pin, resolved, sources
from trainers.upstream.frozen import Stretch, _strategic_by_bar, cut, tactical_under

NOWHERE = "sqlite:///none.db"
COLUMN = {column.name: index for index, column in enumerate(TACTICAL.columns)}
TOLD = [COLUMN[column.name] for column in UPSTREAM_COLUMNS]


@dataclass(frozen=True)
class Artefacts:
    strategic: Path
    tactical: Path


@pytest.fixture(scope="module")
def above(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    home = tmp_path_factory.mktemp("above")
    export_strategic(home / "strategic")
    export_tactical(home / "tactical")
    return Artefacts(home / "strategic", home / "tactical")


@pytest.fixture(scope="module")
def config(above: Artefacts) -> TacticalConfig:
    return tactical_config(above.strategic)


@pytest.fixture(scope="module")
def table(config: TacticalConfig) -> Any:
    return strategic_table(config, "train")


@pytest.fixture(scope="module")
def under(above: Artefacts) -> ExecutionConfig:
    return execution_config(above.strategic, above.tactical)


def altered(path: Path, source: Path, **fields: Any) -> Path:
    """A copy of an artefact with fields of its manifest changed."""
    shutil.copytree(source, path)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    manifest.update(fields)
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))
    return path


def test_the_table_is_what_the_layer_says_alone_in_its_own_environment(
    config: TacticalConfig, table: Any
) -> None:
    """One stretch once more, by one strategic environment, against the batch's table."""
    told = frozen(config.upstream.strategic, "strategic", StrategicConfig, market=config.market)
    data = fast_data(config, "train")
    longer, number = coarser_bars(data.bars, 5, 30)
    model = RegimeModel.load(told.artefact.folder / "regime_model.json")
    slow = slow_data_of(longer, told.config, model)
    horizon = told.config.horizon_bars
    stretches = cut(slow.whole, 0, int(number[data.rows.after - 1]), horizon)
    assert len(stretches) > 20
    env = BatchedStrategic(told.config, 1, data=slow)
    seen = np.zeros((0, len(STRATEGIC_SAID)))
    for stretch in (stretches[3], stretches[-1]):
        env.begin_at(np.array([stretch.start]), np.array([stretch.start], np.uint64))
        for bar in range(stretch.start, stretch.after):
            decision = told.policy.decide(env.rows)
            said = strategic_said(
                env.rows, decision.actions, decision.probabilities, env.arrays.decision
            )
            if bar >= stretch.first:
                # It is decided at the close of `bar`, and holds over the next longer bar.
                rows = np.flatnonzero(number == bar + 1)
                rows = rows[rows < data.rows.after]
                assert np.allclose(table[rows, :-1], said[0], atol=1e-6) and len(rows)
                assert table[rows, -1] == pytest.approx(np.arange(len(rows)) / 6)
                seen = np.concatenate([seen, said])
            env.step(decision.actions)
            held = env.arrays.accounts["position"][0] / env.arrays.accounts["limit"][0]
            assert said[0, -1] == pytest.approx(held, abs=1e-2)  # what it meant to hold
    assert (seen[:, :3].sum(axis=1) == pytest.approx(1.0)) and np.ptp(seen[:, 2]) > 0.1


def test_an_artefacts_temperature_moves_its_confidence_and_nothing_else(
    above: Artefacts, table: Any, tmp_path: Path
) -> None:
    cooled = altered(tmp_path / "cooled", above.strategic, temperatures={"direction": 3.0})
    found = strategic_table(tactical_config(cooled), "train")
    place = STRATEGIC_SAID.index("confidence")
    others = [column for column in range(table.shape[1]) if column != place]
    np.testing.assert_array_equal(found[:, others], table[:, others])
    said = ~np.isnan(table).any(axis=1)
    expected = confidence(table[said, : len(DIRECTIONS)], 3.0)
    np.testing.assert_allclose(found[said, place], expected, rtol=1e-12)
    assert (found[said, place] < table[said, place]).any()


def test_stretches_cover_runs_of_whole_bars() -> None:
    whole = np.ones(40, np.bool_)
    whole[[0, 11, 12, 17]] = False
    found = cut(whole, 3, 36, 5)
    # The run of bars 1 to 10 from bar 3 on, then 18 to 38; 13 to 16 hold no stretch.
    assert found == [
        Stretch(3, 3, 8), Stretch(6, 8, 11), Stretch(18, 18, 23), Stretch(23, 23, 28),
        Stretch(28, 28, 33), Stretch(33, 33, 36),
    ]  # fmt: skip
    assert cut(whole, 3, 3, 5) == [] and cut(np.zeros(9, np.bool_), 0, 9, 2) == []
    assert cut(np.ones(9, np.bool_), 0, 9, 4) == [Stretch(0, 0, 4), Stretch(4, 4, 8)]


def test_no_word_depends_on_bars_to_come(config: TacticalConfig) -> None:
    """Bars from some point on are replaced: nothing that was said before it changes."""
    told = frozen(config.upstream.strategic, "strategic", StrategicConfig, market=config.market)
    data = fast_data(config, "train")
    point, bars = 3_003, data.bars  # in the middle of a longer bar
    columns = tuple(getattr(bars, n).copy() for n in ("open", "high", "low", "close", "volume"))
    for column in columns[:4]:
        column[point:] *= 1.001  # within the simulated books' capacity, which the widest bar sets
    columns[4][point:] *= 3.0
    changed = replace(data, bars=bars_of_columns(bars.start.copy(), columns, bars.source))
    first, second = (_strategic_by_bar(told, config, part) for part in (data, changed))
    # The longer bar that holds the point is known from the bar after it on.
    until = point // 6 * 6 + 6
    assert np.array_equal(first[:until], second[:until], equal_nan=True)
    assert not np.array_equal(first[until:], second[until:], equal_nan=True)
    assert (~np.isnan(first[:until, 0])).sum() > 500


def test_a_tactical_episode_sees_the_word_for_the_bar_it_plays_next(
    config: TacticalConfig, table: Any
) -> None:
    env = make_tactical(12, 3, config)
    env.reset()
    rng = np.random.default_rng(1)
    targets = set()
    for _ in range(config.horizon_bars):
        bars = env.arrays.world.places["bar"]
        assert env.rows[:, TOLD] == pytest.approx(table[bars], abs=1e-6)
        targets |= set(np.round(env.arrays.strategic_targets, 3))
        env.step(rng.integers(0, 5, (12, 3)).astype(np.float32))
    assert env.terminations.all() and np.isfinite(env.states).all()
    assert len(targets) > 3


def test_episodes_are_the_same_alone_in_a_batch_and_after_a_restart(
    config: TacticalConfig,
) -> None:
    together, alone, again = (make_tactical(n, 7, config) for n in (5, 1, 5))
    together.reset()
    alone.reset(seeds=together.arrays.seeds[3:4].copy())
    rng = np.random.default_rng(2)
    for step in range(config.horizon_bars):
        if step == 5:
            again.load_state(together.state_dict())
        action = rng.integers(0, 5, (5, 3)).astype(np.float32)
        together.step(action)
        alone.step(action[3:4])
        assert np.array_equal(together.states[3], alone.states[0])
        if step >= 5:
            again.step(action)
            assert np.array_equal(together.states, again.states)
            assert np.array_equal(together.rewards, again.rewards)
    assert "above" not in together.state_dict()  # a table does not travel with every state


def test_execution_plays_inside_the_bar_that_was_decided_about(under: ExecutionConfig) -> None:
    told = bars_above(under, "test")
    env = make_execution(40, 5, under, "test", paired_sides=True)
    env.reset(seeds=np.arange(40, dtype=np.uint64))
    market = env.simulator.market
    drawn = env.simulator.source.drawn  # type: ignore[attr-defined]
    said, side = told.said[drawn], market.parents["side"]
    ohlc = told.tape.tape.ohlc[told.chosen[drawn]]
    path = market.path + market.episodes["base"][:, None]
    assert (path.min(axis=1) >= ohlc[:, 2] - 1e-6).all()
    assert (path.max(axis=1) <= ohlc[:, 1] + 1e-6).all()
    names = [column.name for column in CONTEXT]
    row = [column.name for column in EXECUTION.shared]
    for layer, at in (("strategic", 0), ("tactical", len(SAID))):
        with_, against = (names.index(f"{layer}_{name}") for name in ("with", "against"))
        assert env.context[side > 0][:, with_] == pytest.approx(said[side > 0, at + 2])
        assert env.context[side < 0][:, with_] == pytest.approx(said[side < 0, at])
        assert env.context[side < 0][:, against] == pytest.approx(said[side < 0, at + 2])
        assert np.ptp(said[:, at]) > 0.05
    assert env.context[0::2, 3] == pytest.approx(env.context[1::2, 3])  # one bar, two sides
    assert env.context[:, -2:] == pytest.approx(said[:, -2:])
    place = [row.index(name) for name in names]
    assert env.rows[:, place] == pytest.approx(env.context, abs=1e-6)
    assert set(np.unique(told.said[:, -1] * 4)) <= set(range(5))
    assert (told.said[:, -2] >= 0).all() and (told.said[:, -2] <= 1).all()


def test_entanglement_is_told_where_the_strategic_layer_is_confident(
    under: ExecutionConfig,
) -> None:
    told = bars_above(under, "train").said
    sure = told[:, SAID.index("confidence")] >= 0.6
    assert sure.any() and (told[~sure, -2] == 0.0).all() and (told[sure, -2] > 0.0).any()


def test_the_tactical_word_is_about_the_next_bar(under: ExecutionConfig) -> None:
    """What the strategic part says before a bar is what its own table says before that bar."""
    told = tactical_under(under)
    table = strategic_table(told.config, "train")
    above = bars_above(under, "train")
    assert above.said[:, : len(SAID)] == pytest.approx(table[above.chosen, : len(SAID)])
    data = fast_data(told.config, "train")
    assert data.whole[above.chosen - 1].all()
    assert above.chosen.min() >= data.rows.first and above.chosen.max() < data.rows.after


def test_splits_share_no_bar(under: ExecutionConfig, config: TacticalConfig) -> None:
    train, test = (set(bars_above(under, split).chosen) for split in ("train", "test"))
    assert train and test and not train & test
    first = strategic_table(config, "test")
    assert np.isnan(first[: int(len(first) * 0.8)]).all()


def test_sampled_and_loaded_do_not_mix(config: TacticalConfig, under: ExecutionConfig) -> None:
    with pytest.raises(ConfigError, match=r"is x and tactical is sampled, expected both"):
        load_config(ExecutionConfig, {"upstream": {"strategic": "x"}})
    with pytest.raises(ConfigError, match=r"upstream\.strategic=.*upstream:make_tactical"):
        tactical_v1.parallel_env(config)
    with pytest.raises(ConfigError, match=r"expected the bars.*make_execution"):
        BatchedExecution(under, 1)
    plain = load_config(TacticalConfig, TACTICAL_ENV)
    with pytest.raises(ConfigError, match="expected the artefact's folder in the configuration"):
        BatchedTactical(plain, 1, above=np.zeros((9_000, 7)))
    silent = np.full((9_000, 7), np.nan)
    with pytest.raises(DataError, match="no run of 12 bars that the strategic artefact decides"):
        BatchedTactical(config, 1, above=silent)


def test_an_artefact_that_saw_these_dates_is_refused(
    above: Artefacts, tmp_path: Path, config: TacticalConfig
) -> None:
    seen = {"series": {"seed": 1}}  # the strategic artefact's own bars
    for split in ("train", "test"):
        if split == "test":
            # It was trained on the first 2,100 half hours: all dates of 9,000 bars of 5 minutes.
            assert read_manifest(above.strategic).trained_on is not None
        with pytest.raises(ArtefactError, match=rf"was trained on 2000-01-03.*the {split} split"):
            strategic_table(tactical_config(above.strategic, **seen), split)  # type: ignore[arg-type]
    both = {"upstream": {"series": {"seed": 2}}}
    with pytest.raises(ArtefactError, match=r"tactical was trained on .*seed 2.*train cascade"):
        bars_above(execution_config(above.strategic, above.tactical, **both), "train")
    quiet = altered(tmp_path / "quiet", above.strategic, trained_on=None)
    with pytest.raises(ArtefactError, match=r"does not say which bars it was trained on"):
        strategic_table(tactical_config(quiet), "train")


def test_missing_damaged_and_foreign_artefacts_are_refused(
    above: Artefacts, tmp_path: Path, config: TacticalConfig
) -> None:
    def find(source: Path | str) -> Any:
        told = tactical_config(Path("x")).model_dump(mode="json")
        told["upstream"]["strategic"] = str(source)
        env = TacticalConfig.model_validate(told)
        return resolved(env, None, NOWHERE, tmp_path / "cache")

    says = r"env\.upstream\.strategic=.*"
    with pytest.raises(ArtefactError, match=says + r"no models at .*--set env\.upstream"):
        find(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match=says + r"needs a model registry"):
        find("models:/grandmodel-strategic_v0-builtin@champion")
    with pytest.raises(ArtefactError, match=says + r"holds a policy of layer 'tactical', expected"):
        find(above.tactical)
    damaged = altered(tmp_path / "damaged", above.strategic)
    (damaged / POLICY_FILE).write_bytes(b"none")
    with pytest.raises(ArtefactError, match=says + r"damaged or was replaced"):
        find(damaged)
    table = read_manifest(above.strategic).columns
    other = altered(tmp_path / "other", above.strategic, columns={**table, "layer": "other"})
    with pytest.raises(ArtefactError, match=says + r"its columns do not have its digest"):
        find(other)
    old = altered(tmp_path / "old", above.strategic, config={"env": {"lolly": 1}})
    with pytest.raises(ArtefactError, match=r"not one of this version \(env\.lolly"):
        strategic_table(tactical_config(old), "train")
    with pytest.raises(DataError, match=r"bars of 7 min cannot make up bars of 30"):
        strategic_table(tactical_config(above.strategic, bar_minutes=7), "train")


def test_a_run_keeps_the_artefacts_that_it_was_begun_under(
    above: Artefacts, tmp_path: Path, under: ExecutionConfig
) -> None:
    given = {name: str(getattr(above, name)) for name in ("strategic", "tactical")}
    assert sources(under) == given and sources(load_config(ExecutionConfig, EXECUTION_ENV)) == {}
    pinned = tmp_path / "run" / "upstream"
    found = resolved(under, None, NOWHERE, tmp_path)
    kept = pin(found, pinned)
    assert sources(kept) == {name: str(pinned / name) for name in given}
    assert digests(kept) == digests(found)
    shown = {path.name for path in (pinned / "strategic").iterdir()}
    assert shown == {POLICY_FILE, MANIFEST_FILE, "regime_model.json"}
    # Resumed, it does not ask what the reference names now.
    gone = load_config(ExecutionConfig, EXECUTION_ENV, {"upstream": dict.fromkeys(given, "gone")})
    assert sources(resolved(gone, pinned, NOWHERE, tmp_path)) == sources(kept)
    # A table is the same wherever the folder lies.
    assert np.array_equal(bars_above(kept, "test").said, bars_above(under, "test").said)


def test_a_probe_reads_both_splits(config: TacticalConfig, under: ExecutionConfig) -> None:
    for layer, env in (("tactical", config), ("execution", under)):
        made = LAYERS[layer].judging_env(3, 0, env)
        made.reset()
        assert np.isfinite(made.rows).all() and made.data_fingerprint
        dates = LAYERS[layer].trained_on(env)
        assert dates is not None and dates.seed == {"tactical": 4, "execution": 3}[layer]


def test_a_frozen_layer_plays_no_copies_of_its_training_bars(
    above: Artefacts, tmp_path: Path
) -> None:
    folder = tmp_path / "strategic"
    shutil.copytree(above.strategic, folder)
    told = json.loads((folder / MANIFEST_FILE).read_text())
    told["config"]["env"]["augmentation"] = {"copies": 3}
    (folder / MANIFEST_FILE).write_text(json.dumps(told))
    assert frozen(str(folder), "strategic", StrategicConfig).config.augmentation.copies == 0


def test_a_frozen_layer_decides_every_bar_however_it_was_trained(
    above: Artefacts, under: ExecutionConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "tactical"
    shutil.copytree(above.tactical, folder)
    told = json.loads((folder / MANIFEST_FILE).read_text())
    told["config"]["env"]["tilt"]["commitment_bars"] = 24
    # What bars of a file would refuse: it is paid nothing here.
    told["config"]["env"]["reward"] = {"chance": 1.0}
    (folder / MANIFEST_FILE).write_text(json.dumps(told))
    committed = execution_config(above.strategic, folder)
    assert tactical_under(committed).config.tilt.commitment_bars == 24
    assert np.array_equal(bars_above(committed, "train").said, bars_above(under, "train").said)


def test_policies_are_judged_where_every_bar_is_free_on_whichever_split(
    config: TacticalConfig,
) -> None:
    standing = config.model_copy(update={"tilt": TiltConfig(commitment_bars=24)})
    tilt, actions = TILTS.index("BUY_LARGE"), np.zeros((4, len(TACTICAL.agents)), np.float32)
    actions[:, 0] = tilt
    may = COLUMN["may_tactical_agent_hold"]
    for split in ("train", "validation", None):
        judged = LAYERS["tactical"].judging_env(4, 0, standing, split)
        judged.reset()
        judged.step(actions)
        assert (judged.rows[:, may] == 1.0).all()
    trained = make_tactical(4, 0, standing)
    trained.reset()
    trained.step(actions)
    assert (trained.rows[:, may] == 0.0).all()

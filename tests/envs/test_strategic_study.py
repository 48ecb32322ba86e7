"""Columns for studies alone: what they show, and that nothing else changes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.artefact import load_artefact
from configs.actors import ActorConfig
from configs.errors import ArtefactError, ConfigError
from configs.loading import load_config
from configs.strategic import StrategicConfig, StudyColumnsConfig
from configs.train import StrategicTraining
from envs import strategic_v0
from envs.barwise.spaces import view_of
from envs.strategic import BatchedStrategic, make_batched
from policies.sequential import SequentialPolicy
from signals.strategic import NEXT_RETURN, STATE, STRATEGIC, strategic_layout
from tests.envs.layers import SMALL
from trainers.export import export_policy

BOTH = {"next_return": True}
SHORT = {"next_return": True, "matrices": False}
BARS, ROWS = 12, 5
# Of the columns that agents see where nothing is switched on: with them, the version rises.
DIGEST = "44218f70cd48f8e57f6c9c2ad40860a3e0ceef716e035e3b250b1ff45e475e38"


def config(study: dict[str, bool] | None = None) -> StrategicConfig:
    return load_config(StrategicConfig, {**SMALL, "study": study or {}})


def made(study: dict[str, bool] | None = None) -> BatchedStrategic:
    env = make_batched(ROWS, 3, config(study))
    env.reset()
    return env


def test_switched_off_the_layout_is_the_layers_own() -> None:
    assert strategic_layout(StudyColumnsConfig()) is STRATEGIC
    assert STRATEGIC.digest == DIGEST and STRATEGIC.env_id == "strategic_v0"
    assert NEXT_RETURN.name not in {column.name for column in STRATEGIC.state_columns}
    assert config().study == StrategicConfig().study == StudyColumnsConfig()
    assert made().layout is STRATEGIC


@pytest.mark.parametrize("study", [BOTH, SHORT, {"matrices": False}])
def test_everything_else_is_equal_to_the_bit(study: dict[str, bool]) -> None:
    usual, other = made(), made(study)
    places = [usual.layout.columns.index(c) for c in other.layout.shared if c != NEXT_RETURN]
    kept = [i for i, c in enumerate(other.layout.shared) if c != NEXT_RETURN]
    critic = len(STRATEGIC.privileged)
    rng = np.random.default_rng(0)
    for _ in range(BARS):
        assert np.array_equal(usual.rows[:, places], other.rows[:, kept])
        assert np.array_equal(usual.states[:, -critic:], other.states[:, -critic:])
        assert np.array_equal(other.rows, other.states[:, :-critic])
        actions = rng.integers(0, 5, (ROWS, 4)).astype(np.float32)
        usual.step(actions)
        other.step(actions)
        assert np.array_equal(usual.rewards, other.rewards)
    assert usual.terminations.all() and other.terminations.all()
    assert np.array_equal(usual.episode_metrics, other.episode_metrics)


@pytest.mark.parametrize("study", [BOTH, SHORT])
def test_the_column_is_the_return_of_the_bar_after_the_execution_bar(
    study: dict[str, bool],
) -> None:
    env = made(study)
    tape, place = env.data.tape.tape, env.layout.columns.index(NEXT_RETURN)
    close, shown, marks = tape.ohlc[:, 3], np.zeros(ROWS), np.zeros(ROWS)
    for step in range(BARS):
        executed = env.arrays.world.places["bar"].copy()
        first = close[executed - 1]
        # In returns: what a sigma is of the price that the decision knows.
        sigma = tape.sigma[executed] / first
        wanted = (close[executed + 1] / close[executed] - 1.0) * close[executed] / first / sigma
        if step == BARS - 1:
            wanted = np.zeros(ROWS)
        foretold, shown = shown, env.rows[:, place].copy()
        assert shown == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        env.step(np.full((ROWS, 4), 2.0, np.float32))
        before, marks = marks, env.arrays.accounts["mark"].copy()
        assert np.array_equal(marks, close[executed])
        if step > 0:
            # What was shown a decision ago is what the account is marked by now.
            moved = (marks - before) / tape.sigma[executed - 1]
            assert foretold == pytest.approx(moved, rel=1e-5, abs=1e-6)
    assert (env.rows[:, place] == 0.0).all()


def test_agents_see_their_state_and_it() -> None:
    short, both = (strategic_layout(StudyColumnsConfig(**study)) for study in (SHORT, BOTH))
    assert short.columns == (*STATE, NEXT_RETURN) and short.windows == ()
    assert both.columns == (*STRATEGIC.columns, NEXT_RETURN)
    assert both.windows == STRATEGIC.windows
    assert len({short.digest, both.digest, STRATEGIC.digest}) == 3
    for layout in (short, both):
        for index in range(len(layout.agents)):
            seen = layout.observation_columns(index)
            assert seen[-1] == NEXT_RETURN and seen[-1 - len(STATE) : -1] == STATE
            assert len(layout.mask_indices(index)) == len(STRATEGIC.mask_indices(index))
    assert view_of(both, 0).matrix.shape == view_of(STRATEGIC, 0).matrix.shape
    env = strategic_v0.parallel_env(config(SHORT), seed=0)
    seen_now, _ = env.reset(seed=1)
    assert all(env.observation_space(name).contains(seen) for name, seen in seen_now.items())


@pytest.mark.slow
def test_an_artefact_of_it_is_no_strategic_policy(tmp_path: Path) -> None:
    layout = strategic_layout(StudyColumnsConfig(**SHORT))
    policy = SequentialPolicy(layout, ActorConfig(hidden=(8,)), seed=0)
    fields: dict[str, Any] = {
        "env_id": layout.env_id, "market": "builtin", "config": {}, "seed": 0, "commit": "test",
        "versions": {}, "metrics": {}, "beats_baseline": False,
    }  # fmt: skip
    manifest = export_policy(policy, layout, tmp_path / "artefact", fields)
    shared: Any = manifest.columns["shared"]
    assert shared[-1]["name"] == NEXT_RETURN.name
    with pytest.raises(ArtefactError, match="trained on other columns"):
        load_artefact(tmp_path / "artefact", STRATEGIC)


@pytest.mark.parametrize("study", [SHORT, {"matrices": False}])
def test_the_training_command_refuses_it(study: dict[str, bool]) -> None:
    with pytest.raises(ConfigError, match=r"env\.study is set, expected its defaults"):
        load_config(StrategicTraining, {"env": {"study": study}})

"""The settings of a training of all layers: whose they are, and that no dates are shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.train_cascade import ORDER, load_cascade


def load(*overrides: str, presets: tuple[str, ...] = (), files: tuple[Path, ...] = ()) -> Any:
    return load_cascade(presets, files, overrides, None)


def test_overrides_are_of_one_layer_or_of_all() -> None:
    found = load("mappo.runners=1", "tactical.mappo.runners=3", "execution.seed=9", "seed=4")
    assert [config.mappo.runners for config in found.values()] == [1, 3, 1]
    assert [config.seed for config in found.values()] == [4, 4, 4]
    assert list(found) == list(ORDER)


def test_the_built_in_bars_of_each_layer_are_of_a_seed_of_its_own() -> None:
    def seeds(found: Any) -> list[int]:
        env = [found[layer].env for layer in ORDER]
        return [env[0].series.seed, env[1].series.seed, env[2].upstream.series.seed]

    assert seeds(load()) == [0, 1, 2]
    assert seeds(load("strategic.env.series.seed=10")) == [10, 11, 12]
    assert seeds(load("tactical.env.series.seed=5")) == [0, 5, 2]


def test_layers_train_on_folds_apart_of_a_file() -> None:
    found = load(presets=("sample-bars",))
    references = [found[layer].env.market.reference for layer in ORDER]
    assert [reference.fold for reference in references] == [0, 1, 2]
    for reference in references:
        assert reference.walk_forward.kind == "rolling" and reference.walk_forward.folds == 3
        assert reference.walk_forward.first_share == pytest.approx(0.25)
    told = load("execution.env.market.reference.fold=1", presets=("sample-bars",))
    assert told["execution"].env.market.reference.fold == 1


def test_files_and_presets_of_one_layer_are_laid_over_that_one(tmp_path: Path) -> None:
    mine, ours = tmp_path / "mine.yaml", tmp_path / "ours.yaml"
    mine.write_text("layer: tactical\nenv: {horizon_bars: 24}\n")
    ours.write_text("mappo: {epochs: 2}\n")
    found = load(presets=("documents",), files=(mine, ours))
    assert found["execution"].env.reward.objective == "documents"
    assert found["tactical"].env.horizon_bars == 24
    assert found["strategic"].env.horizon_bars == 96
    assert {config.mappo.epochs for config in found.values()} == {2}


def test_what_is_wrong_is_said_with_its_layer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"strategic layer: .*'parent'.*LAYER\.KEY sets one"):
        load("env.parent.horizon_steps=5")
    with pytest.raises(ConfigError, match=r"execution layer: .*lolly"):
        load("execution.env.lolly=1")
    strange = tmp_path / "strange.yaml"
    strange.write_text("layer: tactic\n")
    with pytest.raises(ConfigError, match=r"layer=tactic in .*strange\.yaml.*no such layer"):
        load(files=(strange,))

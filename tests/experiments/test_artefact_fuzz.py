"""Altered artefacts, some dozens of them; `python -m experiments.artefact_fuzz` loads 2,000."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cascade.models import LAYERS
from experiments.artefact_fuzz import REFUSED, STANDS, altered, attack, outcome
from tests.cascade.layers import layer_artefact


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for layer in LAYERS:
        layer_artefact(folder / layer, layer, 1)
    return folder


def test_altered_artefacts_are_refused_or_stand(models: Path) -> None:
    found, wrong = attack(models, 90, 0)
    assert wrong == []
    assert set(found) == {REFUSED, STANDS}
    assert found[REFUSED] > found[STANDS]


def test_a_seed_alters_always_alike_and_never_the_artefact_itself(
    models: Path, tmp_path: Path
) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    before = contents(models / "tactical")
    for seed in range(20):
        for copy in ("a", "b"):
            altered(models / "tactical", tmp_path / f"{copy}{seed}", seed)
        assert contents(tmp_path / f"a{seed}") == contents(tmp_path / f"b{seed}")
        assert contents(tmp_path / f"a{seed}") != before
    assert contents(models / "tactical") == before
    assert outcome("tactical", models / "tactical") == STANDS


def test_what_crashes_is_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(layer: str, folder: Path) -> None:
        raise RuntimeError("crashed")

    monkeypatch.setattr("experiments.artefact_fuzz.load_model", crash)
    found, wrong = attack(models, 3, 0)
    assert found == Counter({"something else": 3})
    assert "RuntimeError: crashed" in wrong[0]

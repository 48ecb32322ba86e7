"""Where champions are found: the mirror, a folder, a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade import registry
from cascade.artefact import load_artefact
from cascade.registry import mirror, resolve
from configs.errors import ArtefactError
from tests.cascade.artefacts import SMALL, small_model, write_artefact

URI = "http://localhost:1"  # asked by nobody
CACHE = Path("unused")


def test_the_mirrored_champion_is_found_and_replaced(tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = write_artefact(tmp_path / "a")
    link = mirror(first, models, "toy", "builtin")
    assert resolve(models, "toy", tracking_uri=URI, cache=CACHE) == models / "toy" / "champion"
    before = load_artefact(link, SMALL).manifest.onnx_sha256
    mirror(write_artefact(tmp_path / "b", model=small_model(bias=1.0)), models, "toy", "builtin")
    after = load_artefact(
        resolve(models, "toy", tracking_uri=URI, cache=CACHE), SMALL
    ).manifest.onnx_sha256
    assert after != before
    assert len(list((models / "toy" / "builtin" / "versions").iterdir())) == 2


def test_each_market_has_its_champion_and_the_latest_is_the_layers(tmp_path: Path) -> None:
    models = tmp_path / "models"
    mirror(write_artefact(tmp_path / "a", market="one"), models, "toy", "one")
    mirror(write_artefact(tmp_path / "b", market="two"), models, "toy", "two")

    def market(name: str | None) -> str:
        folder = resolve(models, "toy", market=name, tracking_uri=URI, cache=CACHE)
        return load_artefact(folder, SMALL).manifest.market

    assert [market("one"), market("two"), market(None)] == ["one", "two", "two"]


def test_the_same_network_under_a_new_manifest_keeps_both(tmp_path: Path) -> None:
    models = tmp_path / "models"
    mirror(write_artefact(tmp_path / "a", seed=1), models, "toy", "one")
    link = mirror(write_artefact(tmp_path / "b", seed=2), models, "toy", "one")
    assert load_artefact(link, SMALL).manifest.seed == 2


def test_the_mirror_can_be_moved(tmp_path: Path) -> None:
    mirror(write_artefact(tmp_path / "a"), tmp_path / "models", "toy", "one")
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    assert load_artefact(
        resolve(tmp_path / "elsewhere", "toy", tracking_uri=URI, cache=CACHE), SMALL
    )


def test_an_artefacts_own_folder_is_taken(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a")
    assert resolve(folder, "toy", tracking_uri=URI, cache=CACHE) == folder


def test_an_empty_place_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no models at .*train first"):
        resolve(tmp_path / "nowhere", "toy", tracking_uri=URI, cache=CACHE)
    mirror(write_artefact(tmp_path / "a"), tmp_path, "toy", "one")
    with pytest.raises(ArtefactError, match=r"neither manifest.json nor toy/two/champion.*toy/one"):
        resolve(tmp_path, "toy", market="two", tracking_uri=URI, cache=CACHE)


def test_a_registry_is_asked_by_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client answers is all that enters this process."""
    for answer, said in [
        ('print(\'{"missing": "mlflow"}\')', r"install grandmodel\[serve\]"),
        ('print(\'{"error": "no such alias"}\')', "no such alias"),
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("print('noise')", "ended with code 0"),
    ]:
        monkeypatch.setattr(registry, "_FETCH", answer)
        with pytest.raises(ArtefactError, match=said):
            resolve("models:/toy@champion", "toy", tracking_uri=URI, cache=tmp_path)
    answer = f"import json; print(json.dumps({{'folder': {str(tmp_path)!r}}}))"
    monkeypatch.setattr(registry, "_FETCH", answer)
    assert resolve("models:/toy@champion", "toy", tracking_uri=URI, cache=tmp_path) == tmp_path


def test_a_database_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("sqlite:///mlflow.db", f"sqlite:///{tmp_path}/other.db?timeout=1"):
        with pytest.raises(ArtefactError, match=r"there is none at sqlite:///"):
            resolve("models:/toy@champion", "toy", tracking_uri=uri, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("**/*.db"))


def test_a_market_is_refused_where_there_is_none_to_pick(tmp_path: Path) -> None:
    folder = write_artefact(tmp_path / "a")
    for reference in (str(folder), "models:/toy@champion"):
        with pytest.raises(ArtefactError, match="--market one picks among"):
            resolve(reference, "toy", market="one", tracking_uri=URI, cache=CACHE)

"""Which champion a new policy has to beat: the mirror's, the registry's, or none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cascade.artefact import read_manifest
from cascade.registry import mirror
from configs.actors import ActorConfig
from configs.errors import TrackingError
from configs.execution import ExecutionConfig
from policies.sequential import SequentialPolicy
from tests.trainers.toy_env import toy_layout
from trainers.champions import LOCAL, find_champion, other_environment
from trainers.export import export_policy
from trainers.tracking import ModelVersion, Run

LAYOUT = toy_layout()
ENV = ExecutionConfig()


class Registry(Run):
    """A registry with one champion, whose artefact is at `folder` or lost."""

    def __init__(self, folder: Path | None, lost: bool = False) -> None:
        self.folder, self.lost = folder, lost

    def champion(self, name: str) -> ModelVersion | None:
        return None if self.folder is None else ModelVersion(name, "7", str(self.folder))

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        if self.lost:
            raise TrackingError("could not fetch it")
        return Path(version.source)


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different policies of one layout."""
    root = tmp_path_factory.mktemp("artefacts")
    for seed in (0, 1):
        policy = SequentialPolicy(LAYOUT, ActorConfig(hidden=(8,)), seed).eval()
        with torch.no_grad():  # an untrained head is almost the same whatever its seed
            for weight in policy.parameters():
                weight.add_(0.01 * seed)
        fields = {
            "env_id": "toy_v0",
            "market": "test",
            "config": {"env": ENV.model_dump(mode="json")},
            "seed": seed,
            "commit": "unknown",
            "versions": {},
            "metrics": {},
            "beats_baseline": None,
        }
        rows = torch.rand(16, LAYOUT.row_width).numpy()
        export_policy(policy, LAYOUT, root / str(seed), fields, rows)
    return root / "0", root / "1"


def found(run: Run | None, models: Path) -> tuple[str, Path, bool] | None:
    champion = find_champion(run, "toy", LAYOUT, models, "test", models / "scratch")
    if champion is None:
        return None
    return champion.version, champion.folder, champion.policy is not None


def test_the_mirror_stands_in_for_an_empty_registry(
    artefacts: tuple[Path, Path], tmp_path: Path
) -> None:
    assert found(Registry(None), tmp_path) is None
    assert found(None, tmp_path) is None
    link = mirror(artefacts[0], tmp_path, LAYOUT.layer, "test")
    assert found(Registry(None), tmp_path) == found(None, tmp_path) == (LOCAL, link, True)


def test_where_both_exist_the_one_that_decides_is_to_be_beaten(
    artefacts: tuple[Path, Path], tmp_path: Path
) -> None:
    assert found(Registry(artefacts[0]), tmp_path) == ("7", artefacts[0], True)
    link = mirror(artefacts[0], tmp_path, LAYOUT.layer, "test")
    assert found(Registry(artefacts[0]), tmp_path) == ("7", artefacts[0], True)
    assert found(Registry(artefacts[1]), tmp_path) == (LOCAL, link, True)
    (link / "policy.onnx").write_bytes(b"damaged")
    assert found(Registry(artefacts[1]), tmp_path) == ("7", artefacts[1], True)


def test_a_lost_artefact_is_unusable_and_the_mirror_has_a_copy(
    artefacts: tuple[Path, Path], tmp_path: Path
) -> None:
    lost = Registry(artefacts[0], lost=True)
    champion = find_champion(lost, "toy", LAYOUT, tmp_path, "test", tmp_path / "scratch")
    assert champion is not None and champion.policy is None
    assert "could not fetch it" in str(champion.unusable)
    link = mirror(artefacts[0], tmp_path, LAYOUT.layer, "test")
    assert found(lost, tmp_path) == (LOCAL, link, True)
    copy = tmp_path / "copy"
    shutil.copytree(artefacts[1], copy)
    (copy / "manifest.json").write_text("{")
    assert found(Registry(copy), tmp_path) == (LOCAL, link, True)


def test_a_champion_of_another_environment_is_told_by_its_settings(
    artefacts: tuple[Path, Path], tmp_path: Path
) -> None:
    champion = find_champion(Registry(artefacts[0]), "toy", LAYOUT, tmp_path, "test", tmp_path)
    assert champion is not None and champion.manifest == read_manifest(artefacts[0])
    assert other_environment(None, ENV) is None
    assert other_environment(champion, ENV) is None
    other = ExecutionConfig.model_validate({"parent": {"horizon_steps": 5}})
    said = str(other_environment(champion, other))
    assert said.startswith("env.parent.horizon_steps=5 (its ")
    # Another reward makes no other episodes.
    paid = ExecutionConfig.model_validate({"reward": {"risk_aversion": 0.5}})
    assert other_environment(champion, paid) is None


def test_layers_above_are_the_same_where_their_networks_are(
    artefacts: tuple[Path, Path], tmp_path: Path
) -> None:
    """Wherever they lie: a run's folder has another name each time."""
    champion = find_champion(Registry(artefacts[0]), "toy", LAYOUT, tmp_path, "test", tmp_path)
    assert champion is not None and champion.manifest is not None

    def under(place: str) -> ExecutionConfig:
        told = {"strategic": f"{place}/strategic", "tactical": f"{place}/tactical"}
        return ExecutionConfig.model_validate({"upstream": told})

    networks = {"strategic": "a" * 64, "tactical": "b" * 64}
    config = {"env": under("then").model_dump(mode="json")}
    manifest = champion.manifest.model_copy(update={"config": config, "upstream": networks})
    loaded = replace(champion, manifest=manifest)
    assert other_environment(loaded, under("now"), networks) is None
    said = str(other_environment(loaded, under("now"), {**networks, "tactical": "c" * 64}))
    assert said == "env.upstream.tactical=cccccccccccc (its bbbbbbbbbbbb)"
    assert "env.upstream.strategic=sampled (its aaaa" in str(other_environment(loaded, ENV))

"""The project's own files agree with each other and with the tree."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from configs.errors import ConfigError
from configs.loading import dump_yaml, load_config, shipped, shipped_names
from configs.train import TRAININGS, TrainConfig, load_train_config, load_training
from configs.yaml_text import read_document
from trainers.layers import LAYERS

HEAVY = {"torch", "ray", "pettingzoo", "mlflow"}


@pytest.fixture(scope="module")
def pyproject(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text())


def rooms(project: Path) -> list[Path]:
    """Top-level packages that are shipped."""
    inits = project.glob("*/__init__.py")
    return sorted(p.parent for p in inits if p.parent.name != "tests")


def test_packages_are_those_of_the_tree(project: Path, pyproject: dict[str, Any]) -> None:
    there = {
        ".".join(init.parent.relative_to(project).parts)
        for room in rooms(project)
        for init in room.rglob("__init__.py")
    }
    listed = pyproject["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(there)
    names = {room.name for room in rooms(project)}
    assert set(pyproject["tool"]["mypy"]["files"]) == names
    assert set(pyproject["tool"]["importlinter"]["root_packages"]) == names


def test_every_module_folder_is_a_package(project: Path) -> None:
    folders = {path.parent for room in rooms(project) for path in room.rglob("*.py")}
    folders |= {path.parent for path in (project / "tests").rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_package_data_is_shipped(project: Path, pyproject: dict[str, Any]) -> None:
    patterns = pyproject["tool"]["setuptools"]["package-data"]
    shipped_data = {
        p for room, globs in patterns.items() for g in globs for p in (project / room).glob(g)
    }
    data = {p for room in rooms(project) for p in room.rglob("*.yaml")}
    assert data == shipped_data


def test_constraints_pin_every_requirement(project: Path, pyproject: dict[str, Any]) -> None:
    lines = (project / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    assert not [version for version in pins.values() if "+" in version]
    extras = pyproject["project"]["optional-dependencies"].values()
    texts = [*pyproject["project"]["dependencies"], *(text for extra in extras for text in extra)]
    for requirement in map(Requirement, texts):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = pins[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} against the pin {version}"


def test_the_base_install_brings_no_training_library(pyproject: dict[str, Any]) -> None:
    """Follows the requirements of the base dependencies through what is installed."""
    seen: set[str] = set()
    queue = [Requirement(text) for text in pyproject["project"]["dependencies"]]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        queue += [Requirement(text) for text in requires(name) or ()]
    assert not HEAVY & seen
    assert "pydantic" in seen


def test_readme_and_contributing_name_only_make_targets_there(project: Path) -> None:
    makefile = (project / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    documented = set(re.findall(r"^([\w-]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == documented == targets
    for page in ("README.md", "CONTRIBUTING.md"):
        path = project / page
        named = re.findall(r"\bmake ([a-z-]+)\b", path.read_text()) if path.is_file() else []
        assert set(named) <= targets, page


def test_the_documents_preset_is_what_the_documents_name() -> None:
    env = load_config(TrainConfig, shipped("presets", "documents")).env
    assert env.child.max_delay_seconds == pytest.approx(1_000e-6)
    assert env.reward.objective == "documents"


def test_every_layer_has_its_file_its_training_and_its_entry() -> None:
    assert set(TRAININGS) == set(shipped_names("layers")) == set(LAYERS)
    for name, training in TRAININGS.items():
        assert training.model_fields["layer"].default == name == LAYERS[name].name


@pytest.mark.parametrize("layer", shipped_names("layers"))
@pytest.mark.parametrize("preset", [None, *shipped_names("presets")])
def test_shipped_files_load_and_round_trip(tmp_path: Path, layer: str, preset: str | None) -> None:
    presets = [] if preset is None else [preset]
    told = [read_document(shipped("presets", name)).tree.get("layer", layer) for name in presets]
    if any(name != layer for name in told):  # a preset of another layer alone
        with pytest.raises(ConfigError, match=rf"layer=\w+ in .*{preset}.yaml:\d+: expected"):
            load_train_config(layer, presets, [], [], None)
        return
    config = load_train_config(layer, presets, [], [], None)
    assert config.layer == layer
    whole = tmp_path / "whole.yaml"
    whole.write_text(dump_yaml(config))
    assert load_training(layer, whole) == config

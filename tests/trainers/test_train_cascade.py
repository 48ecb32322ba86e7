"""`grandmodel train cascade` on a tiny budget: three layers, one parent run, and a resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from cascade.artefact import load_artefact
from configs.errors import TrainingError
from configs.tracking import URI_VARIABLE
from configs.train_cascade import ORDER
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.trainers.checkpoints import unfinished
from tests.trainers.upstreams import EXECUTION_ENV, STRATEGIC_ENV, TACTICAL_ENV
from trainers.cascade_commands import PARENT_TAG, train_cascade
from trainers.cascade_run import CascadeFolder, layer_run, load_cascade_run
from trainers.runs import RunFolder
from trainers.tracking import connect

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS: dict[str, LayerLayout] = {"strategic": STRATEGIC, "tactical": TACTICAL}
LAYOUTS["execution"] = EXECUTION
ENVS: dict[str, dict[str, Any]] = {
    "strategic": STRATEGIC_ENV, "tactical": TACTICAL_ENV, "execution": EXECUTION_ENV,
}  # fmt: skip


def write_settings(tmp_path: Path) -> list[str]:
    """Options of a tiny training of all layers."""
    common = {
        "mappo": {
            "policy": {"hidden": [8]},
            "critic": {"hidden": [8]},
            "num_envs": 4,
            "rollout_length": 6,
            "stagger": 0,
            "epochs": 1,
            "minibatches": 2,
            "runners": 0,
            "stop": {"iterations": 1},
        },
        "evaluation": {
            "min_parents": 16,
            "max_parents": 32,
            "batch_size": 16,
            "bootstrap_samples": 100,
            "parity_rows": 16,
        },
        "tracking": {
            "uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
            "artifact_location": str(tmp_path / "mlruns"),
        },
        "output": str(tmp_path / "runs"),
        "models": str(tmp_path / "models"),
    }
    files = {"common": common, **{name: {"layer": name, "env": env} for name, env in ENVS.items()}}
    options = []
    for name, tree in files.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(json.loads(json.dumps(tree))))
        options += ["--config", str(path)]
    return options


def run(*words: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of `grandmodel WORDS`, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != URI_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "trainers.cli", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def load(tmp_path: Path, *overrides: str, **told: Any) -> Any:
    files = [Path(path) for path in write_settings(tmp_path)[1::2]]
    told = {"output": None, "resume": False} | told
    return load_cascade_run([], files, overrides, None, **told)


def test_each_layer_is_told_the_artefacts_that_those_above_will_leave(tmp_path: Path) -> None:
    configs, folder = load(tmp_path, output=str(tmp_path / "all"))
    places = {name: str(tmp_path / "all" / name / "artefact") for name in ORDER}
    assert configs["tactical"].env.upstream.strategic == places["strategic"]
    assert configs["execution"].env.upstream.strategic == places["strategic"]
    assert configs["execution"].env.upstream.tactical == places["tactical"]
    assert configs["execution"].env.upstream.series.bars == 9_000
    folder.begin(configs, None)
    with pytest.raises(TrainingError, match=r"holds a training of all layers already: add --resu"):
        load(tmp_path, output=str(tmp_path / "all"))
    again, same = load(tmp_path, output=str(tmp_path / "all"), resume=True)
    assert again == configs and same == folder
    layer, begun = layer_run(again["tactical"], same)
    assert layer.path == same.run("tactical") and not begun


def test_what_cannot_be_resumed_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no unfinished training of all layers under .*runs"):
        load(tmp_path, resume=True)
    with pytest.raises(
        TrainingError, match=rf"holds no training .*{CascadeFolder.file} is missing"
    ):
        load(tmp_path, resume=True, output=str(tmp_path))
    configs, folder = load(tmp_path)
    folder.begin(configs, None)
    assert folder.path.parent == tmp_path / "runs" and folder.path.name.startswith(
        "cascade-builtin"
    )
    assert load(tmp_path, resume=True)[1] == folder
    (folder.path / CascadeFolder.file).write_text("{}")
    with pytest.raises(TrainingError, match=r"cannot be read .*expected an object"):
        load(tmp_path, resume=True)


def test_a_refused_resume_changes_nothing(tmp_path: Path) -> None:
    home = str(tmp_path / "all")
    configs, folder = load(tmp_path, "tracking.enabled=false", output=home)
    folder.begin(configs, None)
    done, begun = (RunFolder(folder.run(layer), []) for layer in ("strategic", "tactical"))
    for run, layer in ((done, "strategic"), (begun, "tactical")):
        run.path.mkdir()
        run.begin(configs[layer], None)
    done.finish()
    unfinished(begun.path, configs["tactical"])
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    for override, said in (
        ("strategic.mappo.stop.iterations=9", r"strategic layer is trained .*iterations=9 \(was 1"),
        ("mappo.stop.iterations=9", r"the strategic layer is trained .* by LAYER\.KEY"),
        ("tactical.mappo.epochs=9", r"other settings: epochs=9 \(was 1\)"),
        ("tactical.env.slices=5", r"tactical was begun in another environment"),
    ):
        found, same = load(tmp_path, override, output=home, resume=True)
        with pytest.raises(TrainingError, match=said):
            train_cascade(found, same, console=Console(quiet=True))
        after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
        assert after == before
    # Of what was not begun, everything may change; of what was begun, its budget.
    overrides = ("execution.mappo.epochs=9", "tactical.mappo.stop.iterations=9")
    found, same = load(tmp_path, *overrides, output=home, resume=True)
    assert [layer_run(found[layer], same)[1] for layer in ORDER] == [True, True, False]


@pytest.mark.slow
def test_three_layers_are_trained_each_under_those_before_it(tmp_path: Path) -> None:
    home = tmp_path / "all"
    options = [*write_settings(tmp_path), "--output", str(home)]
    out, errors = run("train", "cascade", *options, "--set", "strategic.mappo.runners=1")
    assert "constructor arguments" not in errors  # Ray's complaint of large or referred configs
    last = out[out.index("\nstrategic\n") :]
    for layer in ORDER:
        assert f"\n{layer}\n" in last
    assert last.count("policy <-") == last.count("best baseline") == 3
    assert f"grandmodel decide --layer execution --models {home / 'execution' / 'artefact'}" in last

    manifests = {
        name: load_artefact(home / name / "artefact", LAYOUTS[name]).manifest for name in ORDER
    }
    networks = {name: manifest.onnx_sha256 for name, manifest in manifests.items()}
    assert manifests["strategic"].upstream == {}
    assert manifests["tactical"].upstream == {"strategic": networks["strategic"]}
    assert manifests["execution"].upstream == {k: networks[k] for k in ("strategic", "tactical")}
    dates = [manifest.trained_on for manifest in manifests.values()]
    assert [told.seed for told in dates if told is not None] == [1, 2, 3]

    state = json.loads((home / CascadeFolder.file).read_text())
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}", 5.0)
    parent = client.get_run(state["tracking_run"])
    assert state["finished"] and parent.info.status == "FINISHED"
    assert {f"verdict.{name}" for name in ORDER} <= set(parent.data.tags)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'"
    )
    assert sorted(child.data.tags["layer"] for child in children) == sorted(ORDER)

    # As if it had been killed before the last layer began.
    shutil.rmtree(home / "execution")
    (home / CascadeFolder.file).write_text(json.dumps({**state, "finished": False}))
    out, _ = run("train", "cascade", "--resume", "--output", str(home))
    assert "1 of 3, strategic: trained before" in out and "2 of 3, tactical: trained before" in out
    assert out[out.index("\nstrategic\n") :].count("policy <-") == 3
    again = load_artefact(home / "execution" / "artefact", EXECUTION).manifest
    assert again.upstream == manifests["execution"].upstream
    assert json.loads((home / CascadeFolder.file).read_text()) == state
    out, _ = run("decide", "--models", str(home / "execution" / "artefact"))
    assert "the layers above sampled" in out

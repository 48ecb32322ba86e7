"""`grandmodel ensemble`: from runs to a run, chosen on validation, refused where it must be."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from cascade.artefact import MANIFEST_FILE, load_artefact
from cascade.models import load_model
from cascade.policy import OnnxPolicy
from configs.errors import ConfigError, TrainingError
from configs.tracking import URI_VARIABLE
from configs.train import LayerTraining, load_train_config
from policies.ensemble import EnsemblePolicy
from policies.sequential import SequentialPolicy
from signals.execution import EXECUTION
from tests.cascade.artefacts import write_artefact
from tests.cascade.layers import linear_model
from tests.trainers.command_line import call
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from trainers.ensemble.commands import FACTS_FILE, EnsembleRequest, choose, run_ensemble, verdicts
from trainers.ensemble.keeping import keep
from trainers.ensemble.members import check_alike, combined, find_members
from trainers.ensemble.scoring import Scores
from trainers.ensemble.selection import alone
from trainers.evaluation.subject import find_subject
from trainers.explain import ExplainRequest, run_explain, weights_of
from trainers.held_out import validation
from trainers.layers import Layer
from trainers.mappo.checkpoint import latest_checkpoint, load_checkpoint
from trainers.mappo.plan import plan_training
from trainers.runs import RunFolder, read_run
from trainers.tracking import connect

TINY = (
    "env.parent.horizon_steps=5",
    "evaluation.min_parents=16",
    "evaluation.max_parents=16",
    "evaluation.batch_size=16",
    "evaluation.bootstrap_samples=100",
    "evaluation.parity_rows=32",
    "evaluation.calibration_parents=16",
    "mappo.policy.hidden=[8]",
    "mappo.policy.output_gain=1.0",
)


def settings(root: Path, layer: str, seed: int, *overrides: str) -> LayerTraining:
    told = [
        f"tracking.uri=sqlite:///{root / 'mlflow.db'}",
        f"tracking.artifact_location={root / 'mlruns'}",
        f"output={root / 'runs'}",
        f"models={root / 'models'}",
    ]
    return load_train_config(layer, (), (), [*told, *overrides], seed)


def kept_run(root: Path, seed: int, *overrides: str, name: str | None = None) -> Path:
    """A run of the execution layer as if its training had ended before its first step."""
    config = settings(root, "execution", seed, *TINY, *overrides)
    path = root / (name or f"seed{seed}")
    path.mkdir()
    RunFolder(path, []).begin(config, None)
    keep(SequentialPolicy(EXECUTION, config.mappo.policy, seed), config, 100, path)
    write_artefact(path / "artefact", EXECUTION, linear_model(EXECUTION, seed))
    return path


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("ensemble")
    return [kept_run(root, seed) for seed in (1, 2, 3)]


def told_of(runs: list[Path], cache: Path, by: Any = "probabilities") -> Scores:
    members = find_members("execution", runs, cache)
    told = validation(members[0].run.config.evaluation, 16, 16)
    return Scores(members, by, told)


def test_members_are_chosen_on_the_validation_split_alone(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other split's environment is so much as built until they are fixed."""
    played: list[str | None] = []
    original = Layer.judging_env

    def judging_env(self: Layer, num: int, seed: int, config: Any, split: Any = None) -> Any:
        played.append(split)
        return original(self, num, seed, config, split)

    monkeypatch.setattr(Layer, "judging_env", judging_env)
    scores = told_of(runs, tmp_path)
    found = choose(scores, select=True, rounds=3)
    assert played and set(played) == {"validation"}
    assert scores.episodes == 16 and set(alone(3)) < set(found.tried)
    best_alone = min(found.tried[counts] for counts in alone(3))
    assert found.score == min(found.tried.values()) <= best_alone  # shortfall: lower is better
    # The same candidates on the same episodes: nothing is left to chance.
    again = told_of(runs, tmp_path / "again")
    assert choose(again, select=True, rounds=3) == found
    assert again(alone(3)) == scores(alone(3))
    said = verdicts(scores, found)
    assert said and ("best member" in said[0] or "no average was better" in said[0])


def test_all_members_count_once_where_none_are_chosen(runs: list[Path], tmp_path: Path) -> None:
    scores = told_of(runs, tmp_path)
    found = choose(scores, select=False, rounds=None)
    assert found.counts == (1, 1, 1) and set(found.tried) == {*alone(3), (1, 1, 1)}
    text = io.StringIO()
    Console(file=text, width=120).print(scores.table(found))
    for name in ("seed1", "seed2", "seed3", "ensemble <-"):
        assert name in text.getvalue()
    assert f"{found.score:.3f}" in text.getvalue() and "16 validation parent" in text.getvalue()


def test_checkpoints_of_a_run_are_members_too(runs: list[Path], tmp_path: Path) -> None:
    checkpoint = latest_checkpoint(runs[0])
    assert checkpoint is not None
    members = find_members("execution", [checkpoint, runs[1], runs[2] / "artefact"], tmp_path)
    assert [member.checkpoint.parent.parent.name for member in members] == [
        "seed1",
        "seed2",
        "seed3",
    ]
    check_alike(members)
    found = combined(members, (1, 0, 1), "weights")
    one, three = members[0].policy.state_dict(), members[2].policy.state_dict()
    assert isinstance(found, SequentialPolicy)
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, 0.5 * (one[name] + three[name]))


def test_what_cannot_be_averaged_is_told(runs: list[Path], tmp_path: Path) -> None:
    wide = kept_run(tmp_path, 1, "mappo.policy.hidden=[9]", name="wide")
    slow = kept_run(tmp_path, 1, "env.step_seconds=5", name="slow")
    bare = kept_run(tmp_path, 1, name="bare")
    (bare / "artefact" / MANIFEST_FILE).unlink()
    lonely = write_artefact(tmp_path / "x" / "artefact", EXECUTION, linear_model(EXECUTION, 0))
    other = write_artefact(tmp_path / "other" / "artefact")  # of another layout
    shifted = kept_run(tmp_path, 1, name="shifted")
    for file in other.iterdir():
        file.rename(shifted / "artefact" / file.name)
    for layer, places, error, message in (
        ("execution", [runs[0]], ConfigError, "got 1 run, expected two or more"),
        ("execution", [runs[0], runs[0]], ConfigError, "ensemble: .* is named twice"),
        ("strategic", runs, ConfigError, "is of the layer execution; expected runs of one"),
        ("execution", [runs[0], slow], ConfigError, r"step_seconds=5\.0 \(there 4\.0\)"),
        ("execution", [runs[0], bare], TrainingError, "the run has no artefact"),
        ("execution", [runs[0], lonely], TrainingError, "an artefact alone holds no weights"),
        ("execution", [runs[0], tmp_path / "none"], TrainingError, "no run with checkpoints"),
        ("execution", [runs[0], shifted], Exception, "layer 'toy', expected layer 'execution'"),
    ):
        with pytest.raises(error, match=message):
            find_members(layer, places, tmp_path / "cache")
    request = EnsembleRequest("execution", [runs[0], wide], by="weights")
    with pytest.raises(ConfigError, match=r"wide is of another architecture .*hidden=\[9\], there"):
        run_ensemble(request, Console(quiet=True))
    assert not (runs[0].parent / "runs").exists()  # nothing was written
    members = find_members("execution", [runs[0], wide], tmp_path / "cache")
    assert isinstance(combined(members, (1, 1), "probabilities"), EnsemblePolicy)


def test_a_mixture_is_kept_as_a_run_and_is_a_member_in_turn(
    runs: list[Path], tmp_path: Path
) -> None:
    members = find_members("execution", runs, tmp_path / "cache")
    policy = combined(members, (1, 2, 1), "probabilities")
    config = members[0].run.config
    place = kept_run(tmp_path, 9, name="mixture")
    keep(policy, config, 300, place)
    kept = weights_of(place)
    assert isinstance(kept, EnsemblePolicy) and kept.counts == (1, 2, 1)
    rows = torch.rand(9, EXECUTION.row_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = policy.act(rows, None), kept.act(rows, None)
    torch.testing.assert_close(found.actions, expected.actions, rtol=0, atol=0)
    nested = find_members("execution", [place, runs[0]], tmp_path / "cache")
    whole = combined(nested, (1, 1), "probabilities")
    assert isinstance(whole, EnsemblePolicy) and whole.counts == (1, 2, 1, 4)
    with pytest.raises(ConfigError, match="is itself an average of probabilities"):
        check_alike(nested)
    # No training goes on from it.
    meta, state = load_checkpoint(latest_checkpoint(place))  # type: ignore[arg-type]
    assert meta.make == "ensemble" and meta.env_steps == 300 and state == {}
    plan = plan_training(EXECUTION, config.mappo)
    with pytest.raises(TrainingError, match="was trained on 'ensemble'"):
        meta.check_resumable(config.mappo, "trainers.upstream:make_execution", plan, "x", place)


@pytest.mark.slow
def test_an_ensemble_is_a_run_like_any(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "both"
    code, out, err = call(
        monkeypatch, capfd, "ensemble", "execution", *runs, "--output", place, "--episodes", 16
    )
    assert code == 0, err
    assert "best member" in out and "best baseline" in out and "registered: " in out
    manifest = load_artefact(place / "artefact", EXECUTION).manifest
    assert manifest.metrics["ensemble/members"] == 3.0 and manifest.beats_baseline is not None
    assert f"{manifest.metrics['ensemble/validation_score']:.3f}" in out
    facts = json.loads((place / "artefact" / FACTS_FILE).read_text())
    assert (
        facts["counts"] == {"seed1": 1, "seed2": 1, "seed3": 1} and facts["split"] == "validation"
    )
    assert FACTS_FILE in manifest.files

    # The cascade, `evaluate`, `explain` and `ensemble` itself take it for any other.
    assert load_model("execution", place / "artefact").manifest.onnx_sha256 == manifest.onnx_sha256
    told = {"layer": None, "models": "none", "tracking_uri": "sqlite:///none.db"}
    subject = find_subject(str(place), **told, cache=tmp_path)
    assert subject.run == place and subject.tracked is not None
    policy = weights_of(place)
    assert isinstance(policy, EnsemblePolicy) and policy.counts == (1, 1, 1)
    rows = np.random.default_rng(0).uniform(-1, 1, (9, EXECUTION.row_width)).astype(np.float32)
    with torch.no_grad():
        expected = policy.act(torch.from_numpy(rows), None).actions.numpy()
    onnx = OnnxPolicy(load_artefact(place / "artefact", EXECUTION))
    np.testing.assert_allclose(onnx.act(rows), expected, atol=1e-5)
    shown = run_explain(
        ExplainRequest(place, "risk_control", rows=4, top=2, steps=8), Console(quiet=True)
    )
    assert shown.is_file()
    store = connect(subject.settings.tracking.uri, 5.0)
    run = store.get_run(str(subject.tracked))
    assert run.info.status == "FINISHED" and run.data.tags["ensemble"] == "probabilities"
    assert run.data.metrics["ensemble/members"] == 3.0
    stored = {file.path for file in store.list_artifacts(run.info.run_id)}
    assert stored == {"artefact", "checkpoint", "config.yaml", "report"}
    # It is finished, and no training goes on from it.
    code, out, err = call(monkeypatch, capfd, "train", "execution", "--resume", "--output", place)
    assert code == 2 and "both is finished: trained for" in err
    more = ("--set", f"mappo.stop.env_steps={2**30}")
    code, out, err = call(
        monkeypatch, capfd, "train", "execution", "--resume", "--output", place, *more
    )
    assert code == 2 and "was trained on 'ensemble'" in err
    left = read_run(place)
    assert left is not None and left.finished
    assert find_subject(str(place), **told, cache=tmp_path / "after").settings == subject.settings
    assert store.get_run(str(subject.tracked)).info.status == "FINISHED"


@pytest.mark.slow
def test_averaged_weights_are_exported_as_one_network(runs: list[Path], tmp_path: Path) -> None:
    place = str(tmp_path / "mean")
    request = EnsembleRequest("execution", runs[:2], "weights", episodes=16, output=place)
    folder, report = run_ensemble(request, Console(file=io.StringIO()))
    assert folder.finished and report.parents == 16
    policy = weights_of(folder.path)
    assert isinstance(policy, SequentialPolicy)
    onnx = OnnxPolicy(load_artefact(folder.artefact, EXECUTION))
    assert not onnx.doubts  # one network does not disagree with itself
    one, two = weights_of(runs[0]).state_dict(), weights_of(runs[1]).state_dict()
    found = policy.state_dict()
    assert all(torch.allclose(found[k], 0.5 * (one[k] + two[k])) for k in found)

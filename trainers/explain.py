"""Which columns and bars a trained layer decides by: `grandmodel explain RUN`.

Both (`trainers.explanation`) need the weights themselves, which a run's checkpoints keep and
an artefact does not.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cascade.artefact import MANIFEST_FILE
from configs.errors import TrackingError, TrainingError
from configs.train import LayerTraining, load_training
from configs.yaml_text import read_document
from policies.attribution import STEPS
from policies.ensemble import LayerPolicy
from signals.layout import LayerLayout
from trainers.explanation import attention_table, explanation, table, write_explanation
from trainers.layers import LAYERS, Layer
from trainers.mappo.checkpoint import latest_checkpoint, load_actors
from trainers.runs import CONFIG_FILE, REPORT_FOLDER, UPSTREAM_FOLDER, read_run
from trainers.torch_actor import TorchActor
from trainers.tracking import add_to_run, tracking_uri
from trainers.upstream.artefacts import resolved

_MAX_ENVS = 16  # played side by side for the rows that are explained


@dataclass(frozen=True)
class ExplainRequest:
    """What to explain. agent: a name, None for all. rows: decisions to look at. top: columns."""

    place: Path
    agent: str | None = None
    rows: int = 64
    top: int = 10
    steps: int = STEPS
    output: Path | None = None


def run_explain(request: ExplainRequest, console: Console) -> Path:
    """Print and draw what each agent decides by, here and in the run's store; the plot's place.

    Raises:
        GrandmodelError: no weights there, no such agent, or an artefact of a layer above that
            is gone. A store that cannot be reached is no error: what was drawn lies here.
    """
    run = run_of(request.place)
    layer, training = _training(run)
    policy = weights_of(run)
    wanted = _agents(policy.layout, request.agent)
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        # Under the artefacts that the run was trained under, which it keeps.
        pinned, uri = run / UPSTREAM_FOLDER, tracking_uri(training.tracking)
        env = resolved(training.env, pinned, uri, Path(cache))
        told = training.model_copy(update={"env": env})
        rows = rows_met(layer, told, policy, request.rows)
    found = explanation(policy, wanted, rows, request.steps)
    for one in found.outputs:
        console.print(f"{one.agent}: {one.output} (gap {one.incomplete:.1%})")
        console.print(table(one, request.top))
    for seen in found.encoders:
        console.print(f"attention of {seen.title}")
        console.print(attention_table(seen, request.top))
    folder = request.output.parent if request.output else run / REPORT_FOLDER
    written = write_explanation(found, request.top, folder, request.output)
    names = ", ".join(map(str, written))
    _say(console, f"{len(rows)} decisions in mode on the judged split; written: {names}")
    _say(console, _tracked(run, training, written))
    return written[0]


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _tracked(run: Path, training: LayerTraining, written: list[Path]) -> str:
    """Add what was written to the run in the tracking store; where that is, or why it is not."""
    folder = read_run(run)
    if folder is None or folder.tracking_run is None:
        return "not tracked: the run's folder names no run of a tracking store"
    try:
        uri = add_to_run(training.tracking, folder.tracking_run, written, REPORT_FOLDER)
    except TrackingError as error:
        return f"not tracked: {error}"
    return f"tracked: {uri}, run {folder.tracking_run}, artifacts {REPORT_FOLDER}/"


def run_of(place: Path) -> Path:
    """The run's folder that `place` names: itself, or the one that an artefact lies in.

    Raises:
        TrainingError: there are no checkpoints.
    """
    run = place.parent if (place / MANIFEST_FILE).is_file() else place
    if latest_checkpoint(run) is None or not (run / CONFIG_FILE).is_file():
        raise TrainingError(
            f"{place}: no run with checkpoints there, and an artefact alone holds no weights "
            "to look into; name the folder of the run that trained it (runs/...)"
        )
    return run


def weights_of(run: Path) -> LayerPolicy:
    """The policy of a layer's run, of its latest checkpoint.

    Raises:
        TrainingError: it has none, or it is of another kind.
    """
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise TrainingError(f"{run}: no checkpoint there; name the folder of a run that has one")
    return policy_of(checkpoint)


def policy_of(checkpoint: Path) -> LayerPolicy:
    """The policy of a layer in a checkpoint.

    Raises:
        TrainingError: it holds none, or actors of another kind.
    """
    actors = load_actors(checkpoint)
    policy = next(iter(actors.values()), None)
    if len(actors) != 1 or not isinstance(policy, LayerPolicy):
        kinds = ", ".join(type(actor).__name__ for actor in actors.values()) or "none"
        raise TrainingError(
            f"{checkpoint}: it holds actors of {kinds}, expected one SequentialPolicy or an "
            "ensemble of them, as layers with their own networks have"
        )
    return policy


def _training(run: Path) -> tuple[Layer, LayerTraining]:
    path = run / CONFIG_FILE
    name: Any = read_document(path).tree.get("layer")
    if name not in LAYERS:
        raise TrainingError(
            f"{path}: layer {name!r}, expected one of {', '.join(LAYERS)}; explain works for "
            "these alone"
        )
    return LAYERS[name], load_training(name, path)


def _agents(layout: LayerLayout, agent: str | None) -> list[int]:
    names = [one.name for one in layout.agents]
    if agent is None:
        return list(range(len(names)))
    if agent not in names:
        raise TrainingError(f"--agent {agent}: expected one of {', '.join(names)}")
    return [names.index(agent)]


def rows_met(
    layer: Layer, training: LayerTraining, policy: LayerPolicy, count: int
) -> NDArray[np.float32]:
    """The first `count` rows that the policy meets when it is judged, float32 [count, width]."""
    env = layer.judging_env(min(count, _MAX_ENVS), training.seed, training.env)
    actor = TorchActor(policy)
    env.reset()
    kept: list[NDArray[np.float32]] = []
    while sum(map(len, kept)) < count:
        kept.append(env.rows.copy())
        env.step(actor.act(env.rows))
        done = env.terminations | env.truncations
        if done.any():
            env.reset(done)
    return np.concatenate(kept)[:count]

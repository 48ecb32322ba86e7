"""Which columns a trained layer decides by: `grandmodel explain RUN`.

Attributions (policies.attribution) need the weights themselves, which a run's checkpoints
keep and an artefact does not.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cascade.artefact import MANIFEST_FILE
from configs.errors import TrainingError
from configs.train import LayerTraining, load_training
from configs.yaml_text import read_document
from policies.attribution import STEPS, attribute, by_name
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout
from trainers.layers import LAYERS, Layer
from trainers.mappo.checkpoint import latest_checkpoint, load_actors
from trainers.report import save_figure
from trainers.runs import CONFIG_FILE, REPORT_FOLDER, UPSTREAM_FOLDER
from trainers.torch_actor import TorchActor
from trainers.tracking import tracking_uri
from trainers.upstream.artefacts import resolved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_FILE = "explanation.png"
_MAX_ENVS = 16  # played side by side for the rows that are explained
_INCHES_PER_BAR, _INCHES_AROUND, _INCHES_WIDE = 0.28, 1.1, 5.0


@dataclass(frozen=True)
class Explained:
    """One output of one agent over all rows: how much each column moved it.

    Attributes:
        names: of columns, without the bars' lags, the weightiest first.
        weight: float64 [names], mean absolute attribution; mean: the signed one.
        incomplete: the largest gap over rows between what columns sum to and the difference
            of the outputs, against the largest difference.
    """

    agent: str
    output: str
    names: tuple[str, ...]
    weight: NDArray[np.float64]
    mean: NDArray[np.float64]
    incomplete: float


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
    """Print the weightiest columns of each agent and save them as a plot; where that is.

    Raises:
        GrandmodelError: no weights there, no such agent, or an artefact of a layer above that
            is gone.
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
    found = [one for k in wanted for one in explain(policy, k, rows, request.steps)]
    for one in found:
        console.print(f"{one.agent}: {one.output} (gap {one.incomplete:.1%})")
        console.print(table(one, request.top))
    path = request.output or run / REPORT_FOLDER / PLOT_FILE
    save_figure(plot(found, request.top), path)
    console.print(f"{len(rows)} decisions in mode on the judged split; plot: {path}")
    return path


def run_of(place: Path) -> Path:
    """The run's folder that `place` names: itself, or the one that an artefact lies in.

    Raises:
        TrainingError: there are no checkpoints.
    """
    run = place.parent if (place / MANIFEST_FILE).is_file() else place
    if latest_checkpoint(run) is None or not (run / CONFIG_FILE).is_file():
        raise TrainingError(
            f"{place}: no run with checkpoints there, and an artefact alone holds no weights that "
            "gradients could be taken of; name the folder of the run that trained it (runs/...)"
        )
    return run


def weights_of(run: Path) -> SequentialPolicy:
    """The policy of a layer's run, of its latest checkpoint.

    Raises:
        TrainingError: it has none, or it is of another kind.
    """
    checkpoint = latest_checkpoint(run)
    actors = {} if checkpoint is None else load_actors(checkpoint)
    policy = next(iter(actors.values()), None)
    if len(actors) != 1 or not isinstance(policy, SequentialPolicy):
        kinds = ", ".join(type(actor).__name__ for actor in actors.values()) or "none"
        raise TrainingError(
            f"{run}: its checkpoint holds actors of {kinds}, expected one SequentialPolicy; "
            "explain works for layers with their own networks"
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
    layer: Layer, training: LayerTraining, policy: SequentialPolicy, count: int
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


def explain(
    policy: SequentialPolicy, agent: int, rows: NDArray[np.float32], steps: int = STEPS
) -> list[Explained]:
    """What moved each output of agent number `agent` from where the mean row has it.

    A discrete agent has one, the log-probability of what it chose; a box agent one for each
    component, its mean in logits.
    """
    told = policy.layout.agents[agent]
    discrete = told.kind == "discrete"
    found = []
    for number in range(1 if discrete else told.encoded_width):
        given = attribute(policy, agent, torch.from_numpy(rows), component=number, steps=steps)
        difference = given.output - given.baseline
        gap = (given.columns.sum(1) - difference).abs().max().item()
        scale = max(difference.abs().max().item(), np.finfo(np.float64).tiny)
        named = by_name(policy.layout, given.columns)
        weight = np.array([values.abs().mean().item() for values in named.values()])
        mean = np.array([values.mean().item() for values in named.values()])
        order = np.argsort(-weight, kind="stable")
        names = tuple(np.array(list(named))[order].tolist())
        output = "log-probability of its choice" if discrete else told.components[number].name
        found.append(Explained(told.name, output, names, weight[order], mean[order], gap / scale))
    return found


def table(explained: Explained, top: int) -> Table:
    """The weightiest columns for people."""
    out = Table()
    out.add_column("column")
    for header in ("mean size", "mean"):
        out.add_column(header, justify="right")
    for name, weight, mean in zip(
        explained.names[:top], explained.weight, explained.mean, strict=False
    ):
        out.add_row(name, f"{weight:.4g}", f"{mean:+.4g}")
    return out


def plot(found: list[Explained], top: int) -> Figure:
    """Bars of the weightiest columns, one panel for each output."""
    from matplotlib.figure import Figure

    height = _INCHES_AROUND + _INCHES_PER_BAR * top
    figure = Figure(figsize=(2 * _INCHES_WIDE, height * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    for axes, one in zip(panels, found, strict=True):
        shown = slice(0, top)
        axes.barh(one.names[shown], one.weight[shown])
        axes.invert_yaxis()
        axes.set_title(f"{one.agent}: {one.output}", loc="left")
        axes.set_xlabel("mean absolute attribution")
    return figure

"""What `grandmodel train cascade` does: the layers in order, each under the artefacts before it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping

from rich.console import Console

from configs.train import LayerTraining
from configs.train_cascade import ORDER
from trainers.cascade_run import CascadeFolder, layer_run
from trainers.commands import train_layer
from trainers.provenance import commit, versions
from trainers.report import REPORT_FILE, TEXT_FILE
from trainers.runs import RunFolder
from trainers.tracking import PARENT_TAG, Run


def train_cascade(
    configs: Mapping[str, LayerTraining],
    folder: CascadeFolder,
    *,
    console: Console,
) -> dict[str, RunFolder]:
    """Train all layers; those that `folder` holds finished are left as they are.

    Args:
        configs, folder: see `trainers.cascade_run.load_cascade_run`.
        console: where tables and closing lines go.

    Returns:
        the layers' runs.

    Raises:
        GrandmodelError: a layer that was begun cannot go on with these settings, and nothing is
            written; or whatever stops a layer's run, in one message, and those before it stand.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the layer's run checkpointed.
    """
    found = {layer: layer_run(configs[layer], folder) for layer in ORDER}
    runs = {layer: run for layer, (run, _) in found.items()}
    with _parent(configs, folder) as parent:
        folder.begin(configs, parent.run_id if parent else None)
        tags = {} if parent is None else {PARENT_TAG: parent.run_id}
        for number, layer in enumerate(ORDER, 1):
            run, begun = found[layer]
            if run.finished:
                _say(console, f"{number} of {len(ORDER)}, {layer}: trained before ({run.path})")
                continue
            _say(console, f"{number} of {len(ORDER)}, {layer}:")
            again = f"grandmodel train cascade --resume --output {folder.path}"
            train_layer(configs[layer], run, resume=begun, console=console, tags=tags, within=again)
            if parent is not None:
                _track(parent, layer, run)
        folder.finish()
    _say_all(console, folder, runs)
    return runs


@contextlib.contextmanager
def _parent(configs: Mapping[str, LayerTraining], folder: CascadeFolder) -> Iterator[Run | None]:
    """The run that those of the layers lie below; None where tracking is off."""
    last = configs[ORDER[-1]]
    if not last.tracking.enabled:
        yield None
        return
    made = commit()
    tags = {
        "layer": "cascade",
        "market": last.env.market.name,
        "seed": str(last.seed),
        "commit": made.name,
        "dirty": str(made.dirty).lower(),
        **{f"version.{name}": text for name, text in versions().items()},
    }
    params = {layer: config.model_dump(mode="json") for layer, config in configs.items()}
    with Run(
        last.tracking, name=folder.path.name, params=params, tags=tags, resume=folder.tracking_run
    ) as run:
        yield run


def _track(parent: Run, layer: str, run: RunFolder) -> None:
    """The layer's verdict, and by how much it is from its best baseline."""
    told = json.loads((run.report / REPORT_FILE).read_text(encoding="utf-8"))
    best = told["paired"][told["best_baseline"]]
    figures = {"mean": best["mean_difference"], "low": best["low"], "high": best["high"]}
    parent.log({f"{layer}/minus_best_baseline/{key}": v for key, v in figures.items()}, 0)
    parent.tag(f"verdict.{layer}", told["verdict"])


def _say_all(console: Console, folder: CascadeFolder, runs: Mapping[str, RunFolder]) -> None:
    """The three comparisons together, where everything lies, and what can be done with it."""
    for layer, run in runs.items():
        _say(console, f"\n{layer}")
        _say(console, (run.report / TEXT_FILE).read_text(encoding="utf-8").rstrip())
    _say(console, f"\nrun:        {folder.path}")
    if folder.tracking_run is not None:
        _say(console, f"tracked:    run {folder.tracking_run}, one child for each layer")
    artefact = runs[ORDER[-1]].artefact
    _say(console, f"next:       grandmodel decide --layer execution --models {artefact}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

"""Runs side by side: the same held-out episodes for all, their curves, what they differ in."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.evaluation import EvaluationConfig
from configs.splits import Split
from configs.train import LayerTraining, load_training
from configs.yaml_text import read_document
from trainers import compare_report, held_out
from trainers.differences import as_judged, differences
from trainers.evaluate import Actor, Match
from trainers.explain import weights_of
from trainers.layers import LAYERS, Layer
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.objective import Objective
from trainers.provenance import commit
from trainers.report import replace, save_figure
from trainers.runs import CONFIG_FILE, UPSTREAM_FOLDER, RunFolder, read_run
from trainers.statistics import MeanResult, PairedResult, mean_interval, paired
from trainers.torch_actor import TorchActor
from trainers.tracking import Run, flatten, tracking_uri
from trainers.upstream.artefacts import digests, resolved
from trainers.work_folder import dated

COMMAND = "compare"
RESULT_FILE = "compare.json"
CURVES_PLOT = "curves.png"
_NO_MATTER = ("output", "models", "tracking.")  # of a run: where things are kept


@dataclass(frozen=True)
class CompareRequest:
    """What was asked for on the command line; see `trainers.cli_learning`."""

    runs: Sequence[Path]
    split: Split = "test"
    episodes: int | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Contender:
    """One run: its settings, its curves, and its policy's environment, artefacts in folders."""

    name: str
    path: Path
    config: LayerTraining
    run: RunFolder
    env: Any
    upstream: Mapping[str, str]

    @property
    def layer(self) -> Layer:
        return LAYERS[self.config.layer]


@dataclass(frozen=True)
class Compared:
    """What was measured; every difference is a run's objective minus the first one's."""

    objective: Objective
    split: Split
    episodes: int
    confidence: float
    means: dict[str, MeanResult]
    differences: dict[str, PairedResult]
    settings: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[str]:
        """One sentence for each run but the first."""
        first = next(iter(self.means))
        return [self._verdict(name, first) for name in self.differences]

    def _verdict(self, name: str, first: str) -> str:
        told, unit = self.differences[name], self.objective.unit
        if self.objective.gained(told):
            outcome = f"is {self.objective.better} than"
        elif self.objective.lost(told):
            outcome = f"is not {self.objective.better} than but worse than"
        else:
            outcome = "cannot be told apart from"
        return (
            f"'{name}' {outcome} '{first}': difference {told.mean_difference:+.3f} {unit}, "
            f"{self.confidence:.1%} interval [{told.low:+.3f}, {told.high:+.3f}], "
            f"{told.n} {self.objective.episodes}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it (a missing number is None)."""
        return {
            "objective": self.objective.metric,
            "unit": self.objective.unit,
            "split": self.split,
            "episodes": self.episodes,
            "confidence": self.confidence,
            "verdicts": self.verdicts,
            "means": {name: _plain(asdict(found)) for name, found in self.means.items()},
            "minus_first": {n: _plain(asdict(found)) for n, found in self.differences.items()},
            "settings": self.settings,
        }


def run_compare(request: CompareRequest, console: Console) -> Compared:
    """Play the runs' policies again on the same episodes; print, plot and log the comparison.

    Raises:
        GrandmodelError: fewer than two runs, one that has no checkpoint, or runs whose
            environments differ.
    """
    if len(request.runs) < 2:
        raise ConfigError(f"compare: got {len(request.runs)} run, expected two or more")
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        found = contenders(request.runs, Path(cache))
        check_environments(found)
        result = compared(found, request.split, request.episodes)
        folder = request.output or dated(found[0].config.output, "compare")
        histories = {one.name: one.run.history for one in found}
        figure = compare_report.curves(histories, found[0].layer.curves)
        save_figure(figure, folder / CURVES_PLOT)
        text = json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n"
        replace(folder / RESULT_FILE, text.encode())
    for shown in compare_report.tables(result):
        console.print(shown)
    for line in result.verdicts:
        _say(console, line)
    _say(console, f"curves:     {folder / CURVES_PLOT}")
    _log(found[0].config, result, folder, console)
    return result


def contenders(paths: Sequence[Path], cache: Path) -> list[Contender]:
    """The runs in the folders, under names that tell them apart.

    Raises:
        TrainingError: a folder holds no run of a layer with a checkpoint.
    """
    return [
        contender(path, name, cache / str(number))
        for number, (path, name) in enumerate(zip(paths, names(paths), strict=True))
    ]


def contender(path: Path, name: str, cache: Path) -> Contender:
    """The run in the folder `path`, with the artefacts of layers above in folders of `cache`.

    Raises:
        TrainingError: it holds no run of a layer with a checkpoint.
    """
    file = path / CONFIG_FILE
    run = read_run(path)
    if run is None or latest_checkpoint(path) is None or not file.is_file():
        raise TrainingError(
            f"{path}: expected the folder of a run with a checkpoint, such as {path}/run.json "
            "and what `grandmodel train` leaves beside it"
        )
    layer: Any = read_document(file).tree.get("layer")
    if layer not in LAYERS:
        raise TrainingError(f"{file}: layer {layer!r}, expected one of {', '.join(LAYERS)}")
    config = load_training(layer, file)
    pinned, uri = path / UPSTREAM_FOLDER, tracking_uri(config.tracking)
    env = resolved(config.env, pinned, uri, cache)
    return Contender(name, path, config, run, env, digests(env))


def names(paths: Sequence[Path], command: str = COMMAND) -> list[str]:
    """As few last parts of every path as tell all of them apart.

    Raises:
        ConfigError: one is named twice.
    """
    whole = [path.resolve() for path in paths]
    twice = {path for path in whole if whole.count(path) > 1}
    if twice:
        raise ConfigError(f"{command}: {twice.pop()} is named twice, expected different runs")
    length = 1
    while len({path.parts[-length:] for path in whole}) < len(whole):
        length += 1
    return ["/".join(path.parts[-length:]) for path in whole]


def check_environments(found: Sequence[Contender], command: str = COMMAND) -> None:
    """Refuse runs that were not trained to play the same game.

    What only training knows, the reward and copies of bars, may differ.

    Raises:
        ConfigError: they are of different layers, or of different environments.
    """
    first = found[0]
    for other in found[1:]:
        if other.config.layer != first.config.layer:
            raise ConfigError(
                f"{command}: {other.path} is of the layer {other.config.layer}, {first.path} of "
                f"{first.config.layer}: expected runs of one layer"
            )
        if (said := differences(_game(other), _game(first), "there", "env.")) is not None:
            raise ConfigError(
                f"{command}: {other.path} was trained in another environment than {first.path}: "
                f"{said}; no episode is the same in both, so that there is nothing to "
                "pair: take runs of one environment"
            )


def _game(one: Contender) -> dict[str, str]:
    flat = as_judged(flatten(one.config.env.model_dump(mode="json")))
    return flat | {f"upstream.{layer}": digest for layer, digest in one.upstream.items()}


def compared(found: Sequence[Contender], split: Split, episodes: int | None) -> Compared:
    """Play every run's policy on the same episodes of `split` and pair the results.

    episodes: the first run's `evaluation.max_parents` by default. Of several runs each
    interval is widened so that all hold together (Bonferroni).
    """
    first = found[0]
    told = first.config.evaluation
    if episodes is not None or split == "validation":
        count = episodes or told.max_parents
        held = held_out.validation(told, count + count % 2, told.batch_size)
        seed = held.seed if split == "validation" else told.seed
        told = held.model_copy(update={"seed": seed})
    policies: dict[str, Actor] = {one.name: TorchActor(weights_of(one.path)) for one in found}
    match = held_out.play(first.config, first.env, policies, told, split)
    confidence = 1.0 - (1.0 - told.confidence) / (len(found) - 1)
    return Compared(
        objective=match.objective,
        split=split,
        episodes=match.parents,
        confidence=confidence,
        means={one.name: _mean(match, one.name, confidence, told) for one in found},
        differences={
            one.name: _paired(match, one.name, first.name, confidence, told) for one in found[1:]
        },
        settings=differing(found),
    )


def _mean(match: Match, name: str, confidence: float, told: EvaluationConfig) -> MeanResult:
    return mean_interval(
        match.objectives(name),
        clusters=match.clusters,
        confidence=confidence,
        samples=told.bootstrap_samples,
        seed=told.seed,
    )


def _paired(
    match: Match, name: str, first: str, confidence: float, told: EvaluationConfig
) -> PairedResult:
    return paired(
        match.objectives(name),
        match.objectives(first),
        clusters=match.clusters,
        confidence=confidence,
        samples=told.bootstrap_samples,
        seed=told.seed,
    )


def differing(found: Sequence[Contender]) -> dict[str, dict[str, str]]:
    """Setting -> run -> value, of those that are not the same in all."""
    flat = {one.name: flatten(one.config.model_dump(mode="json")) for one in found}
    keys = sorted({key for told in flat.values() for key in told})
    return {
        key: {name: told.get(key, "-") for name, told in flat.items()}
        for key in keys
        if not key.startswith(_NO_MATTER) and len({told.get(key) for told in flat.values()}) > 1
    }


def _log(config: LayerTraining, result: Compared, folder: Path, console: Console) -> None:
    """The comparison as a run of its own beside those that it compares."""
    if not config.tracking.enabled:
        return
    made = commit()
    tags = {
        "layer": config.layer,
        "market": config.env.market.name,
        "study": "compare",
        "commit": made.name,
        "dirty": str(made.dirty).lower(),
    }
    params = {"runs": list(result.means), "split": result.split, "episodes": result.episodes}
    with Run(config.tracking, name=folder.name, params=params, tags=tags) as run:
        for number, (name, told) in enumerate(result.differences.items(), 1):
            figures = {"mean": told.mean_difference, "low": told.low, "high": told.high}
            run.log({f"minus_first/{key}": value for key, value in figures.items()}, number)
            run.tag(f"run.{number}", name)
        run.log_folder(folder, "compare")
        _say(console, f"tracked:    {run.uri}, run {run.run_id}")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

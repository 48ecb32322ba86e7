"""What `grandmodel walk-forward` does: retrain per fold, judge out of sample, put together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from configs.barwise import LayerConfig
from configs.errors import ConfigError
from configs.loading import dump_yaml
from configs.train import LayerTraining, load_train_config
from trainers.evaluation.page import report_page
from trainers.evaluation.plots import plots_of_returns
from trainers.layers import LAYERS
from trainers.mappo.costs import check_costs
from trainers.provenance import Commit, commit, versions
from trainers.report import replace
from trainers.session import ray_session
from trainers.tracking import PARENT_TAG, Run, tracking_uri
from trainers.upstream.artefacts import resolved
from trainers.walk_forward.backtest import Played, chained, judged, kept_bars
from trainers.walk_forward.folds import (
    FoldResult,
    fold_result,
    kept_result,
    of_fold,
    split_place,
    standing_result,
)
from trainers.walk_forward.results import WalkForwardResult, aggregated, say, write
from trainers.work_folder import WorkFolder

CONFIG_FILE = "config.yaml"
PAGE_FILE = "walk-forward.html"


@dataclass(frozen=True)
class WalkRequest:
    """What was asked for on the command line; see `trainers.cli_learning`."""

    layer: str
    presets: Sequence[str] = ()
    files: Sequence[Path] = ()
    overrides: Sequence[str] = ()
    seed: int | None = None
    scheme: str | None = None
    folds: int | None = None
    output: str | None = None
    resume: bool = False


@dataclass
class WalkFolder(WorkFolder):
    """One walk on disk: its settings, a run per fold, its result."""

    family = "walk-forward"
    what = "walk"
    file = "walk.json"

    @property
    def base(self) -> Path:
        return self.path / CONFIG_FILE

    def fold(self, number: int) -> Path:
        return self.path / f"fold-{number}"


def run_walk_forward(request: WalkRequest, console: Console) -> WalkForwardResult:
    """Walk, beginning or going on; finished folds are kept.

    Raises:
        GrandmodelError: whatever stops it, in one message.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the fold's run checkpointed.
    """
    config, folder = _settings(request)
    _check_scheme(config, split_place(config))
    if config.mappo.stop.patience is not None:
        raise ConfigError(
            "mappo.stop.patience is set, expected null: a fold's validation part is what it is "
            "judged on, and a training that ends by it would have seen it"
        )
    place = split_place(config)
    count = _splits(config, place).walk_forward.count
    envs = {k: _environment(of_fold(config, place, k), folder) for k in range(count)}
    for k in envs:  # what cannot go on is heard while the walk is yet as it was left
        standing_result(of_fold(config, place, k), folder.fold(k))
    _check(config, envs, console)
    folder.path.mkdir(parents=True, exist_ok=True)
    replace(folder.base, dump_yaml(config).encode())
    made = commit()
    with _parent(config, folder, made) as parent:
        folder.tracking_run = parent.run_id if parent else None
        folder.finished = False
        folder.save()
        try:
            found = _walk(config, place, envs, folder, made, parent, console)
        except KeyboardInterrupt:
            again = f"grandmodel walk-forward {config.layer} --resume --output {folder.path}"
            _say(console, f"stopped; finished folds are kept; go on with: {again}")
            raise
        result = aggregated(config.layer, found, LAYERS[config.layer].objective, config.evaluation)
        if isinstance(config.env, LayerConfig):
            bars = chained([kept_bars(folder.fold(number)) for number in envs])
            result = replaced(result, traded=judged(config, bars))
            _write_page(config, result, bars, folder)
        _conclude(result, folder, parent, console)
    folder.finish()
    return result


def _walk(
    config: LayerTraining,
    place: str,
    envs: dict[int, Any],
    folder: WalkFolder,
    made: Commit,
    parent: Run | None,
    console: Console,
) -> list[FoldResult]:
    found = []
    with ray_session(config.mappo):
        for fold, env in envs.items():
            tags = {
                "layer": config.layer,
                "market": config.env.market.name,
                "fold": str(fold),
                **({} if parent is None else {PARENT_TAG: parent.run_id}),
            }
            kept = kept_result(folder.fold(fold)) is not None
            told = of_fold(config, place, fold)
            found.append(fold_result(told, env, fold, folder.fold(fold), made, tags))
            before = " (kept)" if kept else ""
            _say(console, f"fold {fold} of {len(envs)}{before}: trained on {found[-1].trained_on}")
    return found


def _settings(request: WalkRequest) -> tuple[LayerTraining, WalkFolder]:
    told = (request.presets, request.files, request.overrides, request.seed)
    if request.resume:
        if any((*told[:3], request.seed is not None, request.scheme, request.folds)):
            raise ConfigError(
                "--resume goes on with the settings that the walk was begun with: give no others"
            )
        root = Path(load_train_config(request.layer, [], [], [], None).output)
        folder = WalkFolder.begun(root, request.output, request.layer)
        return load_train_config(request.layer, [], [], [], None, folder.base), folder
    config = load_train_config(request.layer, *told)
    place = split_place(config)
    more = [] if request.scheme is None else [f"{place}.walk_forward.kind={request.scheme}"]
    more += [] if request.folds is None else [f"{place}.walk_forward.folds={request.folds}"]
    if more:
        overrides = [*request.overrides, *more]
        config = load_train_config(request.layer, *told[:2], overrides, request.seed)
    return config, WalkFolder.fresh(config.output, config.run_stem, request.output)


def _splits(config: LayerTraining, place: str) -> Any:
    here: Any = config
    for key in place.split("."):
        here = getattr(here, key)
    return here


def _check_scheme(config: LayerTraining, place: str) -> None:
    """Combinatorial folds train on bars after those they are judged on, which not all can."""
    if _splits(config, place).walk_forward.kind != "combinatorial":
        return
    loaded = getattr(getattr(config.env, "upstream", None), "loaded", False)
    if loaded or not isinstance(config.env, LayerConfig):
        raise ConfigError(
            "--scheme combinatorial: training lies on both sides of what is held out, and "
            f"{'artefacts decide' if loaded else 'the execution layer plays'} on bars in one part: "
            "expected anchored or rolling here"
        )


def _environment(config: LayerTraining, folder: WalkFolder) -> Any:
    cache = folder.path / "upstream"
    return resolved(config.env, cache, tracking_uri(config.tracking), cache)


def _check(config: LayerTraining, envs: dict[int, Any], console: Console) -> None:
    """What the data have against any fold is heard before the first is trained."""
    _say(console, "preparing: a first run of a version compiles its kernels, about a minute")
    for fold in (min(envs), max(envs)):
        layer = LAYERS[config.layer]
        check_costs(
            config.mappo.constraints, layer.judging_env(2, config.seed, envs[fold], "train")
        )
        layer.judging_env(2, config.seed, envs[fold], "validation")


@contextlib.contextmanager
def _parent(config: LayerTraining, folder: WalkFolder, made: Commit) -> Iterator[Run | None]:
    """The run that those of the folds lie below; None where tracking is off."""
    if not config.tracking.enabled:
        yield None
        return
    tags = {
        "layer": config.layer,
        "market": config.env.market.name,
        "study": WalkFolder.family,
        "seed": str(config.seed),
        "commit": made.name,
        "dirty": str(made.dirty).lower(),
        **{f"version.{package}": text for package, text in versions().items()},
    }
    with Run(
        config.tracking,
        name=folder.path.name,
        params=config.model_dump(mode="json"),
        tags=tags,
        resume=folder.tracking_run,
    ) as run:
        yield run


def _write_page(
    config: LayerTraining, result: WalkForwardResult, bars: Played, folder: WalkFolder
) -> None:
    """The report for people, where there are bars enough for one."""
    found = result.traded
    if found is None:
        return
    drawn = plots_of_returns(found, np.unique(bars.day))
    page = report_page(found, drawn, [result.verdict], {"walk": config})
    replace(folder.path / PAGE_FILE, page.encode())


def _conclude(
    result: WalkForwardResult, folder: WalkFolder, parent: Run | None, console: Console
) -> None:
    path = write(result, folder.path)
    say(result, console)
    if parent is not None:
        for number, line in enumerate((*result.lines, result.total)):
            name = "total" if line is result.total else "fold"
            told = line.difference
            figures = {
                "policy": told.mean_a,
                "minus_best_baseline": told.mean_difference,
                "minus_best_baseline_low": told.low,
                "minus_best_baseline_high": told.high,
            }
            parent.log({f"{name}/{key}": value for key, value in figures.items()}, number)
        parent.log_text(path.read_text(encoding="utf-8"), path.name)
        if result.traded is not None:
            page = folder.path / PAGE_FILE
            parent.log_text(page.read_text(encoding="utf-8"), page.name)
        parent.tag("verdict", result.verdict)
        _say(console, f"tracked:    {parent.uri}, run {parent.run_id}, one child for each fold")
    _say(console, f"walk:       {folder.path}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

"""One fold of a walk forward: trained on its past, played on its out-of-sample part, kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from cascade.artefact import TrainedOn
from configs.barwise import LayerConfig
from configs.errors import ConfigError, TrainingError
from configs.market import BarReference
from configs.train import LayerTraining, TrainConfig
from trainers import held_out
from trainers.evaluate import Actor
from trainers.layers import LAYERS
from trainers.mappo.checkpoint import latest_checkpoint
from trainers.progress import TrainingProgress
from trainers.provenance import Commit
from trainers.recording import RunRecorder, tracked
from trainers.report import replace
from trainers.runs import RunFolder, read_run
from trainers.torch_actor import TorchActor
from trainers.tracking import Run
from trainers.train import IterationReport, TrainResult, train
from trainers.walk_forward.backtest import play_fold

POLICY = "policy"
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class FoldResult:
    """What one fold came to.

    Attributes:
        fold: its number, from 0.
        trained_on: the dates of its training, as text.
        objectives: policy -> the layer's objective of every out-of-sample episode, the same
            episodes for all, net of costs.
        metrics: policy -> mean of every metric of these episodes.
        clusters: of every episode; equal where episodes share bars.
        config: of its training, as plain data.
        tracking_run: its run in the tracking store, if there is one.
        commit: by which it was judged.
    """

    fold: int
    trained_on: str
    env_steps: int
    minutes: float
    objectives: dict[str, list[float]]
    metrics: dict[str, dict[str, float]]
    clusters: list[int]
    config: dict[str, Any]
    tracking_run: str | None
    commit: str


def split_place(config: LayerTraining) -> str:
    """Where a layer's configuration says how its bars are split, as a dotted path.

    Raises:
        ConfigError: its market has no bars, so that there are no folds of them.
    """
    if isinstance(config.env.market.reference, BarReference):
        return "env.market.reference"
    if isinstance(config.env, LayerConfig):
        return "env.series"
    if isinstance(config, TrainConfig) and config.env.upstream.loaded:
        return "env.upstream.series"
    raise ConfigError(
        "the built-in market of the execution layer has no dates to walk along: give bars "
        "(--preset sample-bars --set env.market.reference.bars.path=FILE), or artefacts of the "
        "layers above (env.upstream), which decide on bars"
    )


def of_fold(config: LayerTraining, place: str, fold: int) -> LayerTraining:
    """The configuration of one fold; `place` as `split_place` gives it."""
    told = config.model_dump(mode="json")
    here = told
    for key in place.split("."):
        here = here[key]
    here["fold"] = fold
    return type(config).model_validate(told)


def fold_result(
    config: LayerTraining, env: Any, fold: int, path: Path, made: Commit, tags: Mapping[str, str]
) -> FoldResult:
    """The result of one fold: as it is kept in `path`, or trained for, from where it stopped.

    What was judged beside other rules than there are now is judged anew, by the policy that is
    kept.

    Raises:
        GrandmodelError: what is kept cannot be read or is of other settings; or training failed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    kept = standing_result(config, path)
    if kept is not None:
        return kept
    run = read_run(path) or RunFolder(path, [])
    resume = latest_checkpoint(path) is not None
    with tracked(config, run, made, tags) as tracking:
        path.mkdir(parents=True, exist_ok=True)
        run.begin(config, tracking.run_id if tracking else None)
        result = _trained(config, env, fold, run, resume, tracking)
        if result.interrupted:
            raise KeyboardInterrupt
        found = _judged(config, env, fold, result, run, made, tracking)
        replace(path / RESULT_FILE, (json.dumps(asdict(found)) + "\n").encode())
        run.finish()
    return found


def standing_result(config: LayerTraining, path: Path) -> FoldResult | None:
    """The result that is kept of a fold; None where it is yet to be trained or judged.

    Raises:
        TrainingError: what is kept is of other settings, or cannot be gone on with.
    """
    kept = kept_result(path)
    if kept is not None:
        if kept.config != config.model_dump(mode="json"):
            raise TrainingError(
                f"{path} holds a fold by other settings: remove it, or choose another --output"
            )
        if set(kept.objectives) == judged_names(config):
            return kept
    layer = LAYERS[config.layer]
    run = read_run(path) or RunFolder(path, [])
    run.check_resumable(config.mappo, layer.make, layer.plan(config.mappo))
    return None


def judged_names(config: LayerTraining) -> set[str]:
    """Of the policy and of all that it is judged beside."""
    return {POLICY, *LAYERS[config.layer].baselines(config.env, config.evaluation)}


def kept_result(path: Path) -> FoldResult | None:
    """The finished result in a fold's folder; None where there is none.

    Raises:
        TrainingError: it cannot be read.
    """
    file = path / RESULT_FILE
    if not file.is_file():
        return None
    try:
        return FoldResult(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{file} cannot be read ({error}): remove {path} to train the fold anew"
        ) from error


def _trained(
    config: LayerTraining,
    env: Any,
    fold: int,
    run: RunFolder,
    resume: bool,
    tracking: Run | None,
) -> TrainResult:
    layer, recorder = LAYERS[config.layer], RunRecorder(run, tracking)
    told = {"config": env.model_dump(mode="json")}

    def on_iteration(report: IterationReport) -> None:
        recorder.keep(report)
        shown.update(report)

    with TrainingProgress(layer.shown, title=f"fold {fold}") as shown:
        return train(
            config.mappo,
            layer.make,
            told,
            run.path,
            resume=resume,
            on_iteration=on_iteration,
        )


def _judged(
    config: LayerTraining,
    env: Any,
    fold: int,
    result: TrainResult,
    run: RunFolder,
    made: Commit,
    tracking: Run | None,
) -> FoldResult:
    """The policy and the baselines on the fold's out-of-sample part."""
    layer = LAYERS[config.layer]
    policies: dict[str, Actor] = {POLICY: TorchActor(result.policy)}
    policies |= layer.baselines(env, config.evaluation)
    play_fold(config, env, policies, run.path)
    match = held_out.play(config, env, policies, config.evaluation, "validation")
    names = match.env.metric_names
    metrics = {p: {m: float(match.metric(p, m).mean()) for m in names} for p in policies}
    if tracking is not None:
        for policy, values in metrics.items():
            tracking.log(
                {f"out_of_sample/{policy}/{k}": v for k, v in values.items()}, result.iterations
            )
    return FoldResult(
        fold=fold,
        trained_on=_dates(config, layer.trained_on(env)),
        env_steps=result.env_steps,
        minutes=result.minutes,
        objectives={p: [float(v) for v in match.objectives(p)] for p in policies},
        metrics=metrics,
        clusters=[int(c) for c in np.asarray(match.clusters)],
        config=config.model_dump(mode="json"),
        tracking_run=tracking.run_id if tracking else None,
        commit=made.told,
    )


def _dates(config: LayerTraining, found: TrainedOn | None) -> str:
    """The dates of a fold's training; of a combinatorial one the blocks that it leaves out."""
    if found is None:
        return "no bars"
    env = config.env
    if not isinstance(env, LayerConfig) or not env.splits.combined:
        return str(found)
    walk = env.splits.walk_forward
    held = list(combinations(range(walk.folds), walk.test_blocks))[env.splits.fold or 0]
    return f"{found}, blocks {', '.join(map(str, held))} of {walk.folds} held out"

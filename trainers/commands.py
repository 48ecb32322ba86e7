"""What `grandmodel train` does: train, compare, export, track, promote, and say so."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from cascade.artefact import Manifest
from configs.loading import load_config
from configs.train import Environment, LayerTraining
from trainers import held_out
from trainers import report as reports
from trainers.calibration import calibrate
from trainers.calibration_report import CalibrationReport, write_calibration
from trainers.champions import Champion, find_champion, keep_mirror, other_environment
from trainers.evaluate import Actor, EvaluationReport, evaluate
from trainers.explanation import explanation, write_explanation
from trainers.export import export_policy
from trainers.layers import LAYERS, Layer, LayerEnv
from trainers.mappo.costs import check_costs
from trainers.memory import PeakMemory
from trainers.play import Player, SchedulePlayer
from trainers.progress import TrainingProgress
from trainers.provenance import Commit, commit, versions
from trainers.recording import RunRecorder, tracked
from trainers.runs import RunFolder
from trainers.session import torch_threads
from trainers.torch_actor import RecordingActor, TorchActor
from trainers.tracking import (
    ModelVersion,
    Promotion,
    Run,
    model_name,
    promotion,
    tracking_uri,
)
from trainers.train import IterationReport, TrainResult, train
from trainers.upstream.artefacts import digests, pin, resolved, sources

CANDIDATE = "policy"
CHAMPION = "champion"
_GIGABYTE = 1e9
_EXPLAINED_ROWS, _EXPLAINED_COLUMNS = 32, 10  # `grandmodel explain RUN` looks at more


@dataclass
class Session:
    """What the stages of one training share.

    `config` is as it was given; `env` is its environment with a folder for every artefact of a
    layer above. `companions` lie beside the policy as well as the layer's own, and `metrics`
    stand in its manifest beside those of its evaluation.
    """

    config: LayerTraining
    env: Environment
    folder: RunFolder
    console: Console
    commit: Commit
    memory: PeakMemory
    probe: LayerEnv
    within: str | None
    tracking: Run | None = None
    peak_bytes: int = 0
    companions: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        return LAYERS[self.config.layer]

    @property
    def model(self) -> str:
        """The name of its policies in the registry."""
        return model_name(self.layer.layout.env_id, self.config.env.market.name)

    def say(self, text: str) -> None:
        _say(self.console, text)

    def look_at_memory(self, seen: int = 0) -> None:
        self.peak_bytes = max(self.peak_bytes, seen, self.memory.measure())


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def train_layer(
    config: LayerTraining,
    folder: RunFolder,
    *,
    resume: bool,
    console: Console,
    tags: Mapping[str, str] | None = None,
    within: str | None = None,
) -> EvaluationReport:
    """Train a layer to its budget, then evaluate, export, register and report.

    Args:
        config, folder: see `trainers.runs.load_run`.
        resume: go on with the run in `folder`.
        console: where the table and the closing lines go.
        tags: of the tracked run, besides its own.
        within: of a run that is a part of another, the command that goes on with that.

    Raises:
        GrandmodelError: whatever stops the run, in one message.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        pinned = folder.upstream if resume else None
        env = resolved(config.env, pinned, tracking_uri(config.tracking), Path(cache))
        return _train_layer(config, env, folder, resume, console, tags or {}, within)


def _train_layer(
    config: LayerTraining,
    env: Environment,
    folder: RunFolder,
    resume: bool,
    console: Console,
    tags: Mapping[str, str],
    within: str | None,
) -> EvaluationReport:
    if resume:
        _say(console, f"resuming:  {folder.path}")
    with session_of(config, env, folder, console, tags, within) as session:
        result = _train(session, resume)
        if result.interrupted:
            again = within or f"grandmodel train {config.layer} --resume --output {folder.path}"
            session.say(f"stopped after iteration {result.iterations}; go on with: {again}")
            raise KeyboardInterrupt
        return conclude(session, result)


@contextmanager
def session_of(
    config: LayerTraining,
    env: Environment,
    folder: RunFolder,
    console: Console,
    tags: Mapping[str, str],
    within: str | None = None,
) -> Iterator[Session]:
    """A run of a layer, begun in its folder and in the tracking store, and finished at the end."""
    made, memory = commit(), PeakMemory()
    began = time.perf_counter()
    _say(console, "preparing: a first run of a version compiles its kernels, which takes a minute")
    for above, artefact in sources(env).items():
        _say(console, f"{above} layer: {artefact}, which first decides on all bars of this run")
    # What the data or the kernels have against this run is heard before anything is written.
    layer = LAYERS[config.layer]
    probe = layer.probe(config.model_copy(update={"env": env}))
    check_costs(config.mappo.constraints, probe)
    folder.check_resumable(config.mappo, layer.make, layer.plan(config.mappo))
    session = Session(config, env, folder, console, made, memory, probe, within)
    fingerprint = probe.data_fingerprint
    session.say(
        f"kernels and data ready in {time.perf_counter() - began:.1f} s ({fingerprint[:24]})"
    )
    told = {
        "layer": config.layer,
        "market": config.env.market.name,
        "data_fingerprint": fingerprint,
    }
    with tracked(config, folder, session.commit, {**tags, **told}) as session.tracking:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.begin(config, session.tracking.run_id if session.tracking else None)
        session.env = pin(env, folder.upstream)
        _say_champion(session, _champion(session))
        yield session
        folder.finish()


def _champion(session: Session) -> Champion | None:
    config = session.config
    market, models = config.env.market.name, Path(config.models)
    layout = session.layer.layout
    return find_champion(
        session.tracking, session.model, layout, models, market, session.folder.path
    )


def _other_environment(session: Session, champion: Champion | None) -> str | None:
    return other_environment(champion, session.config.env, digests(session.env))


def _say_champion(session: Session, champion: Champion | None) -> None:
    """What the training will be judged against, heard before it and not after."""
    if champion is None:
        return
    if champion.unusable is not None:
        session.say(f"champion v{champion.version} can no longer be run: {champion.unusable}")
        return
    session.say(f"champion to beat: v{champion.version} ({champion.folder})")
    if (other := _other_environment(session, champion)) is not None:
        session.say(f"it was trained in another environment and will keep its place: {other}")


def _train(session: Session, resume: bool) -> TrainResult:
    config, folder, layer = session.config, session.folder, session.layer
    recorder = RunRecorder(folder, session.tracking)

    def on_iteration(report: IterationReport) -> None:
        recorder.keep(report)
        shown.update(report)

    with TrainingProgress(layer.shown, title=f"training {config.layer}") as shown:
        result = train(
            config.mappo,
            layer.make,
            {"config": session.env.model_dump(mode="json")},
            folder.path,
            resume=resume,
            on_iteration=on_iteration,
            baselines=lambda kwargs: _players(config, kwargs),
            validation=held_out.scored(config, session.env, folder.history),
        )
    if result.ended is not None:
        session.say(f"ended after iteration {result.iterations}: {result.ended}")
    session.look_at_memory(result.peak_rss_bytes)
    return result


def _players(config: LayerTraining, kwargs: Mapping[str, Any]) -> dict[str, Player]:
    """The baselines in one stage of the curriculum, whose environment `kwargs` describe."""
    env = load_config(type(config.env), kwargs["config"])
    baselines = LAYERS[config.layer].baselines(env, config.evaluation)
    return {name: SchedulePlayer(baseline) for name, baseline in baselines.items()}


def conclude(session: Session, result: TrainResult) -> EvaluationReport:
    """Everything after training: compare on the test split, export, register, mirror, say."""
    config, folder, layer = session.config, session.folder, session.layer
    market = config.env.market.name
    champion = _champion(session)  # anew: another run may have ended meanwhile
    actor = RecordingActor(TorchActor(result.policy), config.evaluation.parity_rows)
    # As in training: on a busy machine a second thread made one decision 20 times slower.
    with torch_threads(config.mappo.torch_threads):
        report = _evaluate(session, actor, champion)
        stated = calibrate(layer, result.policy, config, session.env)
    manifest = export_policy(
        result.policy,
        result.policy.layout,
        folder.artefact,
        _manifest_fields(session, report, stated),
        actor.rows,
        {**layer.companions(session.probe), **session.companions, **stated.companions()},
    )
    challenge = report.against(CHAMPION) if CHAMPION in report.comparisons else None
    decided = promotion(
        champion.version if champion else None,
        challenge,
        champion.unusable if champion else None,
        _other_environment(session, champion),
        layer.objective,
        report.beats_baseline,
    )
    reports.write(report, folder.report)
    write_calibration(stated, folder.report)
    with torch_threads(config.mappo.torch_threads):
        _explain(session, result, actor.rows)
    if folder.history:
        figure = reports.curves(folder.history, "env_steps", layer.curves)
        reports.save_figure(figure, folder.report / "curves.png")
    version = _register(session, decided, report, stated, result)
    link = keep_mirror(
        decided, folder.artefact, champion, Path(config.models), config.layer, market
    )
    session.look_at_memory()
    _say_result(session, report, stated, manifest, decided, version, link)
    return report


def _explain(session: Session, result: TrainResult, rows: NDArray[np.float32]) -> None:
    """What the policy decided by in some of the rows that it was compared on, into the report."""
    policy = result.policy
    some = rows[:: max(len(rows) // _EXPLAINED_ROWS, 1)][:_EXPLAINED_ROWS]
    found = explanation(policy, list(range(len(policy.layout.agents))), some)
    write_explanation(found, _EXPLAINED_COLUMNS, session.folder.report)


def _evaluate(session: Session, actor: Actor, champion: Champion | None) -> EvaluationReport:
    config, layer = session.config, session.layer
    baselines = layer.baselines(session.env, config.evaluation)
    policies: dict[str, Actor] = {CANDIDATE: actor, **baselines}
    if champion is not None and champion.policy is not None:
        policies[CHAMPION] = champion.policy

    def make_env(num: int) -> LayerEnv:
        return layer.judging_env(num, config.seed, session.env)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing with baselines", total=config.evaluation.max_parents)

        def on_batch(done: int, most: int) -> None:
            progress.update(task, completed=done, total=most)
            session.look_at_memory()

        return evaluate(
            make_env,
            policies,
            config.evaluation,
            objective=layer.objective,
            candidate=CANDIDATE,
            baselines=list(baselines),
            reference=config.evaluation.reference,
            on_batch=on_batch,
        )


def _manifest_fields(
    session: Session, report: EvaluationReport, stated: CalibrationReport
) -> dict[str, Any]:
    result = report.against(report.best_baseline)
    metrics = {**report.summaries[CANDIDATE].metrics, **stated.metrics(), **session.metrics}
    metrics.update(
        {
            "parents": float(report.parents),
            "minus_best_baseline": result.mean_difference,
            "minus_best_baseline_low": result.low,
            "minus_best_baseline_high": result.high,
        }
    )
    return {
        "env_id": session.layer.layout.env_id,
        "market": session.config.env.market.name,
        "config": session.config.model_dump(mode="json"),
        "seed": session.config.seed,
        "commit": session.commit.told,
        "versions": versions(),
        "metrics": metrics,
        "beats_baseline": report.beats_baseline,
        "trained_on": session.layer.trained_on(session.env),
        "upstream": digests(session.env),
        "temperatures": stated.temperatures,
    }


def _register(
    session: Session,
    decided: Promotion,
    report: EvaluationReport,
    stated: CalibrationReport,
    result: TrainResult,
) -> ModelVersion | None:
    run = session.tracking
    if run is None:
        return None
    for policy, summary in report.summaries.items():
        values = {f"evaluation/{policy}/{key}": value for key, value in summary.metrics.items()}
        run.log(values, result.iterations)
    for other, comparison in report.comparisons.items():
        paired = comparison.result
        run.log(
            {
                f"evaluation/minus_{other}/mean": paired.mean_difference,
                f"evaluation/minus_{other}/low": paired.low,
                f"evaluation/minus_{other}/high": paired.high,
                f"evaluation/minus_{other}/correlation": paired.correlation,
            },
            result.iterations,
        )
    run.log(stated.metrics(), result.iterations)
    session.look_at_memory()
    run.log({"peak_rss_bytes": float(session.peak_bytes)}, result.iterations)
    run.log_folder(session.folder.report, "report")
    run.log_folder(result.checkpoint, "checkpoint")
    run.tag("verdict", report.verdict)
    tags = {
        "beats_baseline": str(report.beats_baseline).lower(),
        "best_baseline": report.best_baseline,
        "commit": session.commit.name,
        "seed": str(session.config.seed),
    }
    return run.register(session.folder.artefact, session.model, decided, tags)


def _say_result(
    session: Session,
    report: EvaluationReport,
    stated: CalibrationReport,
    manifest: Manifest,
    decided: Promotion,
    version: ModelVersion | None,
    link: Path,
) -> None:
    say = session.say
    for table in reports.tables(report):
        session.console.print(table)
    for line in (*reports.lines(report), *stated.lines()):
        say(line)
    say(
        f"parity with torch: {manifest.parity.max_abs_difference:.1e} "
        f"over {manifest.parity.rows} rows"
    )
    if version is not None:
        say(f"registered: {version.name} v{version.version} as {decided.alias} ({decided.reason})")
    else:
        say(f"{decided.alias}: {decided.reason}; tracking is off, so it is in the mirror alone")
    say(f"run:        {session.folder.path}")
    if session.tracking is not None:
        say(f"tracked:    {session.tracking.uri}, run {session.tracking.run_id}")
    say(f"peak memory {session.peak_bytes / _GIGABYTE:.2f} GB")
    if session.within is None:
        say(f"next:       {session.layer.next_command.format(models=link)}")

"""What `grandmodel train` does: train, compare, export, track, promote, and say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from cascade.artefact import Manifest
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.train import TrainConfig
from envs.execution import ENV_ID, make_batched
from envs.execution.batched import BatchedExecution
from signals.layout import LayerLayout
from trainers import report as reports
from trainers.baselines import execution_baselines
from trainers.champions import Champion, find_champion, keep_mirror, other_environment
from trainers.evaluate import Actor, EvaluationReport, evaluate
from trainers.export import export_policy
from trainers.memory import PeakMemory
from trainers.play import Player, SchedulePlayer
from trainers.progress import TrainingProgress
from trainers.provenance import Commit, commit, versions
from trainers.recording import RunRecorder, tracked
from trainers.runs import RunFolder
from trainers.torch_actor import RecordingActor, TorchActor
from trainers.tracking import ModelVersion, Promotion, Run, model_name, promotion
from trainers.train import IterationReport, TrainResult, train

MAKE = "envs.execution:make_batched"
CANDIDATE = "policy"
CHAMPION = "champion"
SHOWN = (("return", "return", "{:.2f}"), ("shortfall_bp", "shortfall", "{:.2f} bp"))
CURVES = (
    "return",
    "reward_shortfall",
    "reward_risk",
    "shortfall_bp",
    "quality",
    "entropy",
    "kl",
    "explained_variance",
)
_GIGABYTE = 1e9


@dataclass
class _Session:
    """What the stages of one training share."""

    config: TrainConfig
    folder: RunFolder
    console: Console
    commit: Commit
    memory: PeakMemory
    tracking: Run | None = None
    peak_bytes: int = 0

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def look_at_memory(self, seen: int = 0) -> None:
        self.peak_bytes = max(self.peak_bytes, seen, self.memory.measure())


def train_layer(
    config: TrainConfig, folder: RunFolder, *, resume: bool, console: Console
) -> EvaluationReport:
    """Train a layer to its budget, then evaluate, export, register and report.

    Args:
        config, folder: see `trainers.runs.load_run`.
        resume: go on with the run in `folder`.
        console: where the table and the closing lines go.

    Raises:
        GrandmodelError: whatever stops the run, in one message.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    session = _Session(config, folder, console, commit(), PeakMemory())
    began = time.perf_counter()
    session.say("preparing: a first run of a version compiles its kernels, which takes a minute")
    # What the data or the kernels have against this run is heard before anything is written.
    probe = _probe(config)
    fingerprint = probe.data_fingerprint
    session.say(
        f"kernels and data ready in {time.perf_counter() - began:.1f} s ({fingerprint[:24]})"
    )
    tags = {
        "layer": config.layer,
        "market": config.env.market.name,
        "data_fingerprint": fingerprint,
    }
    with tracked(config, folder, session.commit, tags) as session.tracking:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.begin(config, session.tracking.run_id if session.tracking else None)
        _say_champion(session, _champion(session, probe.layout))
        result = _train(session, resume)
        if result.interrupted:
            session.say(
                f"stopped after iteration {result.iterations}; go on with: "
                f"grandmodel train {config.layer} --resume --output {folder.path}"
            )
            raise KeyboardInterrupt
        report = _conclude(session, result)
        folder.finish()
    return report


def _probe(config: TrainConfig) -> BatchedExecution:
    """Two paired episodes, stepped once: compiles every kernel and reads the data."""
    env = make_batched(2, config.seed, config.env, split="test", paired_sides=True)
    env.reset()
    env.step(execution_baselines(config.env, 1)["twap"].act(env.rows))
    return env


def _champion(session: _Session, layout: LayerLayout) -> Champion | None:
    config = session.config
    market = config.env.market.name
    name = model_name(ENV_ID, market)
    models = Path(config.models)
    return find_champion(session.tracking, name, layout, models, market, session.folder.path)


def _say_champion(session: _Session, champion: Champion | None) -> None:
    """What the training will be judged against, heard before it and not after."""
    if champion is None:
        return
    if champion.unusable is not None:
        session.say(f"champion v{champion.version} can no longer be run: {champion.unusable}")
        return
    session.say(f"champion to beat: v{champion.version} ({champion.folder})")
    if (other := other_environment(champion, session.config.env)) is not None:
        session.say(f"it was trained in another environment and will keep its place: {other}")


def _train(session: _Session, resume: bool) -> TrainResult:
    config, folder = session.config, session.folder
    recorder = RunRecorder(folder, session.tracking)

    def on_iteration(report: IterationReport) -> None:
        recorder.keep(report)
        shown.update(report)

    with TrainingProgress(SHOWN, title=f"training {config.layer}") as shown:
        result = train(
            config.mappo,
            MAKE,
            {"config": config.env.model_dump(mode="json")},
            folder.path,
            resume=resume,
            on_iteration=on_iteration,
            baselines=lambda kwargs: _players(config, kwargs),
        )
    session.look_at_memory(result.peak_rss_bytes)
    return result


def _players(config: TrainConfig, kwargs: Mapping[str, Any]) -> dict[str, Player]:
    """The baselines in one stage of the curriculum, whose environment `kwargs` describe."""
    env = load_config(ExecutionConfig, kwargs["config"])
    baselines = execution_baselines(env, config.evaluation.passive_slice_steps)
    return {name: SchedulePlayer(baseline) for name, baseline in baselines.items()}


def _conclude(session: _Session, result: TrainResult) -> EvaluationReport:
    """Everything after training: compare, export, register, mirror, say."""
    config, folder = session.config, session.folder
    market = config.env.market.name
    name = model_name(ENV_ID, market)
    layout = result.policy.layout
    champion = _champion(session, layout)  # anew: another run may have ended meanwhile
    actor = RecordingActor(TorchActor(result.policy), config.evaluation.parity_rows)
    report = _evaluate(session, actor, champion)
    manifest = export_policy(
        result.policy, layout, folder.artefact, _manifest_fields(session, report), actor.rows
    )
    challenge = report.against(CHAMPION) if CHAMPION in report.comparisons else None
    decided = promotion(
        champion.version if champion else None,
        challenge,
        champion.unusable if champion else None,
        other_environment(champion, config.env),
    )
    reports.write(report, folder.report)
    figure = reports.curves(folder.history, "env_steps", CURVES)
    reports.save_figure(figure, folder.report / "curves.png")
    version = _register(session, name, decided, report, result)
    link = keep_mirror(
        decided, folder.artefact, champion, Path(config.models), config.layer, market
    )
    session.look_at_memory()
    _say_result(session, report, manifest, decided, version, link)
    return report


def _evaluate(session: _Session, actor: Actor, champion: Champion | None) -> EvaluationReport:
    config = session.config
    baselines = execution_baselines(config.env, config.evaluation.passive_slice_steps)
    policies: dict[str, Actor] = {CANDIDATE: actor, **baselines}
    if champion is not None and champion.policy is not None:
        policies[CHAMPION] = champion.policy

    def make_env(num: int) -> BatchedExecution:
        return make_batched(num, config.seed, config.env, split="test", paired_sides=True)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing with baselines", total=config.evaluation.max_parents)

        def on_batch(done: int, most: int) -> None:
            progress.update(task, completed=done, total=most)
            session.look_at_memory()

        return evaluate(
            make_env,
            policies,
            config.evaluation,
            candidate=CANDIDATE,
            baselines=list(baselines),
            reference=config.evaluation.reference,
            on_batch=on_batch,
        )


def _manifest_fields(session: _Session, report: EvaluationReport) -> dict[str, Any]:
    result = report.against(report.best_baseline)
    metrics = dict(report.summaries[CANDIDATE].metrics)
    metrics.update(
        {
            "parents": float(report.parents),
            "minus_best_baseline": result.mean_difference,
            "minus_best_baseline_low": result.low,
            "minus_best_baseline_high": result.high,
        }
    )
    suffix = "-dirty" if session.commit.dirty else ""
    return {
        "env_id": ENV_ID,
        "market": session.config.env.market.name,
        "config": session.config.model_dump(mode="json"),
        "seed": session.config.seed,
        "commit": session.commit.name + suffix,
        "versions": versions(),
        "metrics": metrics,
        "beats_baseline": report.beats_baseline,
    }


def _register(
    session: _Session,
    name: str,
    decided: Promotion,
    report: EvaluationReport,
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
    return run.register(session.folder.artefact, name, decided, tags)


def _say_result(
    session: _Session,
    report: EvaluationReport,
    manifest: Manifest,
    decided: Promotion,
    version: ModelVersion | None,
    link: Path,
) -> None:
    config, say = session.config, session.say
    for table in reports.tables(report):
        session.console.print(table)
    for line in reports.lines(report):
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
    say(f"next:       grandmodel decide --layer {config.layer} --models {link}")

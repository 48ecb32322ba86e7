"""What `grandmodel train package.module:function` does: train, play, track, and say so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.team import TeamConfig
from signals.team import GroupLayout, TeamLayout
from trainers import report as reports
from trainers.mappo.config import VECTOR, MAPPOConfig, vector_options
from trainers.mappo.machine import described, detect
from trainers.mappo.plan import TeamPlan
from trainers.mappo.sampler import Actors, make_environment
from trainers.play import ModePlayer, Played, RandomPlayer, play
from trainers.progress import TrainingProgress
from trainers.provenance import commit
from trainers.recording import RunRecorder, tracked
from trainers.runs import RunFolder
from trainers.statistics import MeanResult, PairedResult, mean_interval, paired
from trainers.tracking import Run
from trainers.train import IterationReport, TrainResult, train

SHOWN = (("return", "return", "{:.2f}"), ("length", "length", "{:.0f}"))
CURVES = ("return", "explained_variance", "value_loss", "steps_per_s")
RESULT_FILE = "result.json"
_GIGABYTE = 1e9


@dataclass(frozen=True)
class TeamResult:
    """Returns of whole episodes, the mean over agents, and of each agent.

    trained, random: by the actors' modes and by random actions on the same seeds.
    gain: trained minus random. agents: mean returns of the trained team by agent.
    """

    trained: MeanResult
    random: MeanResult
    gain: PairedResult
    agents: dict[str, float]


def train_team(
    config: TeamConfig, folder: RunFolder, *, resume: bool, console: Console
) -> TeamResult:
    """Train on a PettingZoo environment to the budget, then play what was learnt.

    Args:
        config, folder: see `trainers.runs.load_team_run`.
        resume: go on with the run in `folder`.
        console: where the table and the closing lines go.

    Raises:
        GrandmodelError: whatever stops the run, in one message.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the run checkpointed.
    """
    made = commit()
    settings = _settings(config)
    plan = settings.training_plan
    _say(console, described(settings.settings, plan, detect(settings.settings)))
    _say_plan(plan, console)
    _say_resume(settings.resume_problem, resume, console)
    folder.check_resumable(config.mappo, VECTOR, plan)
    with tracked(config, folder, made, {"env": config.env}) as tracking:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.begin(config, tracking.run_id if tracking else None)
        result = _train(config, folder, tracking, resume)
        if result.interrupted:
            _say(
                console,
                f"stopped after iteration {result.iterations}; go on with: "
                f"grandmodel train {config.env} --resume --output {folder.path}",
            )
            raise KeyboardInterrupt
        found = compare(config, plan, result.actors)
        _keep(found, folder, tracking, result)
        _say_result(config, found, folder, tracking, result, console)
        folder.finish()
    return found


def _settings(config: TeamConfig) -> MAPPOConfig:
    settings = MAPPOConfig().mappo(config.mappo).parallel_env(config.env, **config.kwargs)
    settings.validate()
    return settings


def compare(config: TeamConfig, plan: TeamPlan, actors: Actors) -> TeamResult:
    """Play the actors' modes and random actions on the same episodes."""
    layout = plan.layout
    assert isinstance(layout, TeamLayout)
    options = vector_options(config.env, config.kwargs, config.mappo)

    def make_env(count: int, seed: int) -> Any:
        return make_environment(VECTOR, count, seed, options)

    wanted = config.play
    trained = play(make_env, lambda count: ModePlayer(plan, actors, count), plan, wanted)
    random = play(make_env, lambda _: RandomPlayer(layout, wanted.seed), plan, wanted)
    return _compared(trained, random, plan, config)


def _compared(trained: Played, random: Played, plan: TeamPlan, config: TeamConfig) -> TeamResult:
    wanted = config.play
    episodes = range(len(trained.lengths))
    options: dict[str, Any] = {
        "clusters": list(episodes),
        "confidence": wanted.confidence,
        "samples": wanted.bootstrap_samples,
        "seed": wanted.seed,
    }
    return TeamResult(
        trained=mean_interval(trained.team_returns, **options),
        random=mean_interval(random.team_returns, **options),
        gain=paired(trained.team_returns, random.team_returns, **options),
        agents=dict(zip(plan.agents, trained.returns.mean(axis=0).tolist(), strict=True)),
    )


def _train(
    config: TeamConfig, folder: RunFolder, tracking: Run | None, resume: bool
) -> TrainResult:
    recorder = RunRecorder(folder, tracking)

    def on_iteration(report: IterationReport) -> None:
        recorder.keep(report)
        shown.update(report)

    with TrainingProgress(SHOWN, title=f"training {config.env}") as shown:
        return train(
            config.mappo,
            VECTOR,
            vector_options(config.env, config.kwargs, config.mappo),
            folder.path,
            resume=resume,
            on_iteration=on_iteration,
        )


def _keep(found: TeamResult, folder: RunFolder, tracking: Run | None, result: TrainResult) -> None:
    """The result and the curves, in the run's folder and in the store."""
    folder.report.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(found), indent=2) + "\n"
    reports.replace(folder.report / RESULT_FILE, text.encode())
    shown = [name for name in CURVES if any(name in row for row in folder.history)]
    figure = reports.curves(folder.history, "env_steps", shown)
    reports.save_figure(figure, folder.report / "curves.png")
    if tracking is None:
        return
    figures = {
        "play/trained": found.trained.mean,
        "play/random": found.random.mean,
        "play/gain": found.gain.mean_difference,
        "play/gain_low": found.gain.low,
        "play/gain_high": found.gain.high,
        **{f"play/agent/{name}": value for name, value in found.agents.items()},
    }
    tracking.log(figures, result.iterations)
    tracking.log_folder(folder.report, "report")
    tracking.log_folder(result.checkpoint, "checkpoint")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _say_plan(plan: TeamPlan, console: Console) -> None:
    """Who acts by which network, before the first step."""
    table = Table("group", "agents", "weights", "observation", "action")
    for actor in plan.actors:
        group = actor.layout
        assert isinstance(group, GroupLayout)
        factors = ", ".join(f"{f.kind} {f.width}" for f in group.factors)
        table.add_row(
            actor.name,
            ", ".join(group.agents),
            actor.sharing,
            str(group.observation_width),
            factors,
        )
    console.print(table)
    _say(console, f"the critic reads: {plan.critic_input} ({plan.state_width} numbers)")


def _say_resume(problem: str, resume: bool, console: Console) -> None:
    """What will not go on as it was, before the first step."""
    if not problem:
        return
    when = "this resume begins" if resume else "a resume will begin"
    _say(
        console,
        f"note: the environment cannot be saved to the bit, so {when} its episodes anew, with the "
        f"weights and optimizers of the checkpoint ({problem})",
    )


def _say_result(
    config: TeamConfig,
    found: TeamResult,
    folder: RunFolder,
    tracking: Run | None,
    result: TrainResult,
    console: Console,
) -> None:
    table = Table("policy", "return per agent", f"{config.play.confidence:.0%} interval")
    for name, mean in (("trained", found.trained), ("random", found.random)):
        table.add_row(name, f"{mean.mean:.3f}", f"[{mean.low:.3f}, {mean.high:.3f}]")
    gain = found.gain
    table.add_row(
        "difference", f"{gain.mean_difference:+.3f}", f"[{gain.low:+.3f}, {gain.high:+.3f}]"
    )
    console.print(table)
    verdict = "better than" if gain.above_zero else "not shown to be better than"
    _say(
        console,
        f"trained is {verdict} random over {found.trained.n} whole episodes on the same seeds",
    )
    _say(console, f"run:        {folder.path}")
    if tracking is not None:
        _say(console, f"tracked:    {tracking.uri}, run {tracking.run_id}")
    _say(
        console,
        f"{result.env_steps:,} steps in {result.minutes:.1f} minutes, "
        f"peak memory {result.peak_rss_bytes / _GIGABYTE:.2f} GB",
    )

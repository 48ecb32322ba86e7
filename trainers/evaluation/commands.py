"""What `grandmodel evaluate` does: find the policy, play it, judge it, write the report."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from configs.errors import ConfigError, TrackingError
from configs.places import function_at
from configs.tracking import TrackingConfig
from trainers.evaluation import bars as barwise
from trainers.evaluation import plots
from trainers.evaluation.findings import Findings, of_bars, of_orders
from trainers.evaluation.leaks import border_note
from trainers.evaluation.orders import play_orders
from trainers.evaluation.page import report_page, shown
from trainers.evaluation.subject import POLICY, Subject, check_unseen, checked_split, find_subject
from trainers.evaluation.trials import CANDIDATES, trials_behind, trials_of
from trainers.report import replace
from trainers.tracking import connect, tracking_uri

PAGE_FILE, DATA_FILE, SERIES_FILE = "evaluation.html", "evaluation.json", "series.npz"
FOLDER = "evaluation"


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate, and how.

    Attributes:
        place: a run's folder, an artefact's, "champion" or models:/NAME@ALIAS.
        layer: of the champion.
        split: judged on; never the one of the training.
        episodes: of bars: the first so many that follow one another; of orders: parents.
        seed: of the evaluation.
        trials: configurations tried before this one was chosen; None: of the study named here or
            in the policy's settings, and the candidates of an ensemble; else 1.
        storage, study: of an Optuna study whose trials are counted.
        output: folder of the report; in the run's, or evaluation-LAYER, where None.
        models: folder of champions.
    """

    place: str
    layer: str | None = None
    split: str = "test"
    episodes: int | None = None
    seed: int = 0
    trials: int | None = None
    storage: str | None = None
    study: str | None = None
    output: Path | None = None
    models: str = "models"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that has been written."""

    found: Findings
    folder: Path
    tracked: str


def run_evaluate(request: EvaluateRequest, console: Console, as_json: bool) -> Evaluated:
    """Evaluate a policy and write `evaluation.html` and `evaluation.json`.

    Raises:
        GrandmodelError: no such policy, a split that it was trained on, or nothing to play.
    """
    _check_trials(request)
    uri = tracking_uri(TrackingConfig())
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        subject = find_subject(
            request.place,
            layer=request.layer,
            models=request.models,
            tracking_uri=uri,
            cache=Path(cache),
        )
        tried, how = _trials(request, subject)
        split = checked_split(request.split)
        apart = check_unseen(subject, split)
        border = border_note(subject, split)
        notes = (how, *subject.differences(), *(() if border is None else (border,)))
        found, drawn, series = _played(subject, request, tried, notes)
    folder = request.output or _default_folder(subject)
    told = [*_told(subject, request), apart]
    settings = {"training": subject.settings, "evaluation": subject.settings.evaluation}
    data = {**found.as_dict(), "policy": _identity(subject), "split": request.split}
    _save_series(folder, series)
    replace(folder / DATA_FILE, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())
    replace(folder / PAGE_FILE, report_page(found, drawn, told, settings).encode())
    tracked = _track(subject, found, folder)
    if as_json:
        console.print_json(json.dumps(data, allow_nan=False), highlight=False)
    else:
        _say(found, folder, tracked, console)
    return Evaluated(found, folder, tracked)


def _check_trials(request: EvaluateRequest) -> None:
    if request.trials is not None and request.storage is not None:
        raise ConfigError("--trials and --storage: expected one of the two, not both")
    if request.study is not None and request.storage is None:
        raise ConfigError(f"--study {request.study}: add --storage, the address of its database")


def _trials(request: EvaluateRequest, subject: Subject) -> tuple[int, str]:
    """How many were tried, and how that is known."""
    if request.storage is not None:
        count = trials_of(request.storage, request.study)
        return count, f"{count} trials were counted in the study it was chosen from."
    if request.trials is not None:
        return request.trials, f"The number of trials ({request.trials}) is as it was given."
    chosen = subject.settings.chosen_from
    count, how = (1, "") if chosen is None else trials_behind(chosen)
    candidates = round(subject.manifest.metrics.get(CANDIDATES, 1.0))
    if candidates > 1:
        count += candidates - 1
        how += f" It is the best of {candidates} candidates of an ensemble, which count as tried."
    if how:
        return count, how.strip()
    return 1, (
        "The policy is judged as the only one that was tried. Where it was chosen among others, "
        "say how many (--trials) or name their study (--storage, --study): the probability falls."
    )


def _played(
    subject: Subject, request: EvaluateRequest, tried: int, notes: tuple[str, ...]
) -> tuple[Findings, list[plots.Drawn], dict[str, np.ndarray[Any, Any]]]:
    confidence = subject.settings.evaluation.confidence
    judged = {"trials": tried, "confidence": confidence, "seed": request.seed, "notes": notes}
    play = _orders if subject.layer.name == "execution" else _bars
    with Progress(console=Console(stderr=True), transient=True) as progress:
        return play(subject, request, judged, progress)


def _bars(
    subject: Subject, request: EvaluateRequest, judged: dict[str, Any], progress: Progress
) -> tuple[Findings, list[plots.Drawn], dict[str, np.ndarray[Any, Any]]]:
    make = _maker(subject, request)
    policies = {POLICY: subject.policy, **subject.baselines()}
    task = progress.add_task("playing", total=len(policies))

    def on_policy(name: str) -> None:
        progress.update(task, advance=1, description=f"playing {name}")

    played = barwise.play_bars(
        make, policies, episodes=request.episodes, seed=request.seed, on_policy=on_policy
    )
    found = of_bars(played, subject.layer.name, **judged)
    found = _told_of_episodes(found, played)
    drawn = plots.plots_of_bars(found, played, subject.layer.layout)
    stamps = played.days if found.unit == "day" else played.day
    series = {"day": stamps, **{f"gain/{name}": gain for name, gain in found.gains.items()}}
    return found, drawn, series


def _told_of_episodes(found: Findings, played: barwise.Bars) -> Findings:
    """The same with what chaining episodes does to everyone alike."""
    length = len(played.number) // played.episodes
    said = (
        f"The backtest chains {played.episodes} episodes of {length} bars, each of which begins "
        "flat and ends in liquidation through the book: whoever holds long pays for it every time, "
        "baselines as well, and drawdown limits begin anew."
    )
    idle = () if played.tracks[POLICY].traded.any() else ("The policy never traded.",)
    return dataclasses.replace(found, notes=(*idle, said, *found.notes))


def _orders(
    subject: Subject, request: EvaluateRequest, judged: dict[str, Any], progress: Progress
) -> tuple[Findings, list[plots.Drawn], dict[str, np.ndarray[Any, Any]]]:
    make = _maker(subject, request)
    config = subject.settings.evaluation.model_copy(update={"seed": request.seed})
    task = progress.add_task("playing", total=request.episodes or config.max_parents)

    def on_batch(done: int, most: int) -> None:
        progress.update(task, completed=done, total=most)

    baselines = subject.baselines()
    orders = play_orders(
        make, subject.policy, baselines, config, parents=request.episodes, on_batch=on_batch
    )
    env: Any = subject.env
    inside = env.upstream.loaded or env.market.reference.kind == "bars"
    unit = "day" if inside else "path"
    found = of_orders(orders, subject.layer.name, unit=unit, **judged)
    sample = _sample(
        make, {POLICY: subject.policy, found.best: baselines[found.best]}, orders.report
    )
    drawn = plots.plots_of_orders(found, orders, subject.layer.layout, sample)
    series = {
        "seed": orders.report.seeds,
        "cluster": orders.cluster,
        **{f"gain/{name}": gain for name, gain in found.gains.items()},
    }
    return found, drawn, series


def _maker(subject: Subject, request: EvaluateRequest) -> Callable[[int], Any]:
    """The environment of the training by the training's own function, on the split judged."""
    function = function_at(subject.layer.make, "environment", "makes a layer's batched environment")
    judged = {**subject.layer.judged, "split": request.split}

    def make(num_envs: int) -> Any:
        return function(num_envs=num_envs, seed=request.seed, config=subject.env, **judged)

    return make


def _sample(make: Callable[[int], Any], players: dict[str, Any], report: Any) -> plots.SampleOrder:
    """The first order of the evaluation again, step by step."""
    mids, left, side = {}, {}, 1
    for name, player in players.items():
        env = make(2)
        env.reset(seeds=report.seeds[:2])
        if hasattr(player, "watch"):
            player.watch(env)
        player.reset(2)
        market = env.simulator.market
        seen, open_ = [market.episodes["last_mid"][0]], [1.0]
        base = float(market.episodes["base"][0])
        parent = market.parents[0]
        side = int(parent["side"])
        while not env.terminations[0]:
            env.step(player.act(env.rows))
            seen.append(market.episodes["last_mid"][0])
            open_.append(parent["remaining"] / parent["quantity"])
        mids[name] = (np.array(seen) + base) * float(env.config.market.tick)
        left[name] = np.array(open_)
    return plots.SampleOrder(mids, left, side)


def _told(subject: Subject, request: EvaluateRequest) -> list[str]:
    manifest = subject.manifest
    place = "a run" if subject.run is not None else "an artefact"
    return [
        f"What was evaluated: the {manifest.layer} policy of {place}, trained on market "
        f"'{manifest.market}' with seed {manifest.seed}, beside the baselines "
        f"{', '.join(subject.baselines())}. Every policy met the same {request.split} split, the "
        f"same order flow and the same random numbers, in the simulator ({manifest.env_id}) and "
        "the configuration that the policy was trained in.",
    ]


def _identity(subject: Subject) -> dict[str, Any]:
    manifest = subject.manifest
    return {
        "layer": manifest.layer,
        "env_id": manifest.env_id,
        "market": manifest.market,
        "seed": manifest.seed,
        "commit": manifest.commit,
        "onnx_sha256": manifest.onnx_sha256,
    }


def _default_folder(subject: Subject) -> Path:
    return (
        subject.run / FOLDER if subject.run is not None else Path(f"{FOLDER}-{subject.layer.name}")
    )


def _save_series(folder: Path, series: dict[str, np.ndarray[Any, Any]]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **{key.replace("/", "."): value for key, value in series.items()})  # type: ignore[arg-type]
    replace(folder / SERIES_FILE, content.getvalue())


def _track(subject: Subject, found: Findings, folder: Path) -> str:
    """Store the report with the run that trained the policy; what came of it, in words."""
    config = subject.settings.tracking
    if subject.tracked is None or not config.enabled:
        return "not tracked: no tracked run of it is known"
    uri = tracking_uri(config)
    try:
        client = connect(uri, config.connect_seconds)
        return _stored(client, uri, subject.tracked, found, folder)
    except TrackingError as error:
        return f"not tracked: {error}"


def _stored(client: Any, uri: str, run: str, found: Findings, folder: Path) -> str:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client.log_artifacts(run, str(folder), FOLDER)
        client.set_tag(run, "evaluation.verdict", found.verdict)
        for key, value in {
            "probability": found.better.probability,
            "mean_lead": float(found.lead.mean()),
            "trials": found.better.trials,
        }.items():
            client.log_metric(run, f"backtest/{key}", value)
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"not tracked: {uri} refused ({first})"
    return f"tracked: {uri}, run {run}"


def _say(found: Findings, folder: Path, tracked: str, console: Console) -> None:
    console.print(found.verdict, highlight=False, markup=False, soft_wrap=True)
    console.print(measures_table(found))
    for line in (
        *found.notes,
        f"report:  {folder / PAGE_FILE}",
        tracked,
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def measures_table(found: Findings) -> Table:
    """The policy and its best baseline, measure by measure; then everyone's mean gain."""
    table = Table(
        title=f"net of costs, {found.confidence:.0%} intervals by bootstrap",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("")
    for name in (POLICY, found.best):
        table.add_column(name, justify="right", no_wrap=True)
    for measure in found.measures[POLICY]:
        cells = [shown(measure, found.measures[name][measure]) for name in (POLICY, found.best)]
        table.add_row(measure, *(escape(cell) for cell in cells))
    unit, scale = ("bp", 1.0) if found.alone is None else ("bp of the account", 1e4)
    table.caption = f"mean gain a {found.unit}, {unit}: " + ", ".join(
        f"{name} {scale * float(gain.mean()):+.3f}" for name, gain in found.gains.items()
    )
    table.caption_justify = "left"
    return table

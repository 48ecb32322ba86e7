"""A sweep for people: what was best, what it cost, which parameters matter, and the front."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.table import Table

from configs.chosen import ChosenFrom
from configs.loading import dump_yaml
from configs.sweep import GoalConfig, SweepConfig
from trainers.report import replace, save_figure
from trainers.sweeps.rungs import as_losses, best_first, pareto
from trainers.sweeps.space import overrides_of, with_params
from trainers.sweeps.study import ORIGIN, PLANNED, REASON, cut_short, masked, wanted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST_FILE = "best.yaml"
RESULT_FILE = "sweep.json"
IMPORTANCE_PLOT = "importance.png"
HISTORY_PLOT = "history.png"
FRONT_PLOT = "front.png"
_TRIALS_A_PARAMETER = 10  # a rule of thumb: with fewer, importance comes with a warning
_SHOWN = 8  # trials of the front, or best ones, in the table
_LEAST_FOR_IMPORTANCE = 4

_STATES = {
    TrialState.COMPLETE: "scored",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def counts(study: Study) -> dict[str, int]:
    """Trials by how they ended; those put back are `cut short` and not failures."""
    gone = cut_short(study)
    found = Counter(
        "cut short" if trial.number in gone else _STATES[trial.state] for trial in wanted(study)
    )
    return dict(found)


def best_trials(study: Study) -> list[FrozenTrial]:
    """The scored trials, best first: by the goal, or of several by rank and crowding."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    return [done[k] for k in best_first(as_losses(study, done))]


def front(study: Study) -> list[FrozenTrial]:
    """The scored trials that no other beats in all goals, by the first of them."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    kept = [t for t, good in zip(done, pareto(as_losses(study, done)), strict=True) if good]
    return sorted(kept, key=lambda trial: trial.values[0])


def importances(study: Study, goal: int, seed: int) -> dict[str, float]:
    """The share of the goal's variance that each parameter explains, by functional ANOVA.

    Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter
    importance" (2014). Empty where too few trials, or equal ones, say nothing.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < _LEAST_FOR_IMPORTANCE or len({t.values[goal] for t in done}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=seed),
            target=lambda trial: trial.values[goal],
        )
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def chosen_from(study: Study, storage: str) -> ChosenFrom:
    """What is to be said of settings that come out of a study, in the database at `storage`."""
    begun = sum(trial.state is not TrialState.WAITING for trial in wanted(study))
    return ChosenFrom(study=study.study_name, storage=masked(storage), trials=begun)


def begun_as(studies: Sequence[Study], trial: FrozenTrial) -> int:
    """The number that a trial had in the study of the smallest budget.

    Every rung's study counts its own trials: who went on to larger budgets keeps this number.

    Args:
        studies: of the rungs up to the trial's own.
    """
    number: int = trial.number
    for study in studies[:0:-1]:
        by_number = {each.number: each for each in study.get_trials(deepcopy=False)}
        first = by_number[number].user_attrs.get(ORIGIN, number)  # of one that was put back
        number = by_number[first].user_attrs[PLANNED]
    return number


def write_best(
    sweep: SweepConfig, base: Path, trial: FrozenTrial, number: int, path: Path, chosen: ChosenFrom
) -> Path:
    """The configuration of a trial as YAML that `grandmodel train LAYER --config` takes.

    Its budget is the layer's own, not the trial's. It says what it was chosen from.

    Args:
        number: of the trial, see `begun_as`.
    """
    config = with_params(sweep.layer, base, overrides_of(trial.params))
    config = config.model_copy(update={"chosen_from": chosen})
    told = ", ".join(f"{name} {value:g}" for name, value in _scores(sweep, trial).items())
    head = (
        f"# Trial {number} of a sweep over {', '.join(sorted(sweep.space))}:\n"
        f"# {told} on the validation split, trained for {sweep.env_steps:,} steps.\n"
    )
    replace(path, (head + dump_yaml(config)).encode())
    return path


def as_dict(sweep: SweepConfig, studies: Sequence[Study]) -> dict[str, Any]:
    """All trials and what they come to, as JSON holds it."""
    last = studies[-1]
    shown = front(last) if len(sweep.goals) > 1 else best_trials(last)[:1]
    return {
        "layer": sweep.layer,
        "goals": [goal.model_dump() for goal in sweep.goals],
        "budgets": list(sweep.budgets),
        "counts": [counts(study) for study in studies],
        "best": [begun_as(studies, trial) for trial in shown],
        "importance": {
            goal.name: importances(studies[0], k, sweep.seed) for k, goal in enumerate(sweep.goals)
        },
        "trials": [
            {"trial": begun_as(studies[: rung + 1], trial), "rung": rung, **_plain(sweep, trial)}
            for rung, study in enumerate(studies)
            for trial in wanted(study)
        ],
    }


def write(
    sweep: SweepConfig, studies: Sequence[Study], base: Path, folder: Path, storage: str
) -> list[Path]:
    """Write results, plots and the best configurations under `folder`, each atomically.

    storage: address of the studies' database.
    """
    chosen = chosen_from(studies[0], storage)  # of which those of further rungs are the best
    told = as_dict(sweep, studies)
    replace(folder / RESULT_FILE, (json.dumps(told, indent=2, allow_nan=False) + "\n").encode())
    written = [folder / RESULT_FILE]
    several = len(sweep.goals) > 1
    best = front(studies[-1]) if several else best_trials(studies[-1])[:1]
    for place, trial in enumerate(best):
        number = begun_as(studies, trial)
        name = f"front/{place:02d}-trial-{number:04d}.yaml" if several else BEST_FILE
        written.append(write_best(sweep, base, trial, number, folder / name, chosen))
    if several and best:
        # The one that a front has no best of: the least far from the best of every goal.
        middle = _middle(studies[-1], best)
        number = begun_as(studies, middle)
        written.append(write_best(sweep, base, middle, number, folder / BEST_FILE, chosen))
    if any(told["importance"].values()):
        written.append(save_figure(_importance_plot(told["importance"]), folder / IMPORTANCE_PLOT))
    if several:
        written.append(save_figure(_front_plot(sweep, studies), folder / FRONT_PLOT))
    else:
        written.append(save_figure(_history_plot(sweep, studies[0]), folder / HISTORY_PLOT))
    return written


def tables(sweep: SweepConfig, studies: Sequence[Study]) -> list[Table]:
    """The best trials, then the parameters' importance."""
    last = studies[-1]
    several = len(sweep.goals) > 1
    shown = (front(last) if several else best_trials(last))[:_SHOWN]
    title = "the front" if several else "the best trials"
    told = "; ".join(_said(sweep, rung, study) for rung, study in enumerate(studies))
    folds = f" of each of {sweep.score.folds} folds" if sweep.score.folds else ""
    best = _table(f"{title}, scored on {sweep.score.episodes} validation episodes{folds} each")
    best.caption, best.caption_justify = told, "left"
    best.add_column("trial", justify="right")
    for goal in sweep.goals:
        best.add_column(goal.name, justify="right", no_wrap=True)
    best.add_column("parameters")
    for trial in shown:
        params = ", ".join(f"{k.rpartition('.')[2]} {_short(v)}" for k, v in trial.params.items())
        number = str(begun_as(studies, trial))
        best.add_row(number, *(f"{value:.4g}" for value in trial.values), params)
    out = [best]
    found = {g.name: importances(studies[0], k, sweep.seed) for k, g in enumerate(sweep.goals)}
    if any(found.values()):
        scored = len(studies[0].get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        out.append(_importance_table(sweep.goals, found, scored))
    return out


def _importance_table(
    goals: Sequence[GoalConfig], found: Mapping[str, Mapping[str, float]], scored: int
) -> Table:
    """The parameters' shares by goal, and of how many trials they are."""
    table = _table("share of the scores' variance that a parameter explains (functional ANOVA)")
    searched = len({name for shares in found.values() for name in shares})
    few = "; too few to tell them apart" if scored < _TRIALS_A_PARAMETER * searched else ""
    table.caption = f"scored trials: {scored}, parameters: {searched}{few}"
    table.caption_justify = "left"
    table.add_column("parameter", no_wrap=True)
    for goal in goals:
        table.add_column(goal.name, justify="right")
    first = found[goals[0].name]
    for name in sorted(
        {k for shares in found.values() for k in shares}, key=lambda k: -first.get(k, 0)
    ):
        shares = (found[goal.name].get(name) for goal in goals)
        table.add_row(name, *("-" if share is None else f"{share:.0%}" for share in shares))
    return table


def _said(sweep: SweepConfig, rung: int, study: Study) -> str:
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts(study).items()))
    return f"{sweep.budgets[rung]:,} steps each: {told}"


def failures(studies: Sequence[Study]) -> list[str]:
    """Why trials failed, each reason once with how often."""
    reasons = Counter(
        trial.user_attrs[REASON]
        for study in studies
        for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if REASON in trial.user_attrs
    )
    return [f"{number} failed: {reason}" for reason, number in reasons.most_common()]


def _middle(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial:
    losses = as_losses(study, list(trials))
    span = np.ptp(losses, axis=0)
    shares = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0)
    return trials[int(np.linalg.norm(shares, axis=1).argmin())]


def _scores(sweep: SweepConfig, trial: FrozenTrial) -> dict[str, float]:
    values = trial.values or []
    return {goal.name: value for goal, value in zip(sweep.goals, values, strict=False)}


def _plain(sweep: SweepConfig, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": _STATES[trial.state],
        "params": trial.params,
        "scores": _scores(sweep, trial),
        "reports": {str(step): value for step, value in trial.intermediate_values.items()},
        "facts": {k: v for k, v in trial.user_attrs.items() if not isinstance(v, dict)},
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _importance_plot(found: Mapping[str, Mapping[str, float]]) -> Figure:
    from matplotlib.figure import Figure

    shown = {goal: shares for goal, shares in found.items() if shares}
    rows = max(len(shares) for shares in shown.values())
    figure = Figure(figsize=(8, (0.8 + 0.35 * rows) * len(shown)), layout="constrained")
    for panel, (goal, shares) in zip(
        figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown.items(), strict=True
    ):
        ordered = sorted(shares.items(), key=lambda item: item[1])
        panel.barh([name for name, _ in ordered], [share for _, share in ordered])
        panel.set_xlabel(f"share of the variance of {goal}")
    return figure


def _history_plot(sweep: SweepConfig, study: Study) -> Figure:
    """Scores in the order of trials, and the best so far."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    numbers = [trial.number for trial in done]
    values = np.array([trial.values[0] for trial in done])
    lower = sweep.goals[0].direction == "minimize"
    axes.plot(numbers, values, "o", label="scored")
    if values.size:
        so_far = np.minimum.accumulate(values) if lower else np.maximum.accumulate(values)
        axes.step(numbers, so_far, where="post", label="best so far")
    ended = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    pruned = [
        (t.number, t.intermediate_values[t.last_step]) for t in ended if t.intermediate_values
    ]
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color="grey", label="pruned, by its curve")
    axes.set_xlabel("trial")
    axes.set_ylabel(sweep.goals[0].name)
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _front_plot(sweep: SweepConfig, studies: Sequence[Study]) -> Figure:
    """Every rung's trials by the first two goals, paler the smaller their budget, and the front."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for rung, study in enumerate(studies):
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        axes.plot(
            [t.values[0] for t in done],
            [t.values[1] for t in done],
            "o",
            color="tab:blue",
            alpha=(rung + 1) / len(studies),
            label=f"{sweep.budgets[rung]:,} steps",
        )
    best = front(studies[-1])
    axes.plot(
        [t.values[0] for t in best],
        [t.values[1] for t in best],
        color="tab:red",
        label=f"front of {len(best)}",
    )
    for trial in best:
        axes.annotate(str(begun_as(studies, trial)), (trial.values[0], trial.values[1]))
    axes.set_xlabel(f"{sweep.goals[0].name} ({sweep.goals[0].direction})")
    axes.set_ylabel(f"{sweep.goals[1].name} ({sweep.goals[1].direction})")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure

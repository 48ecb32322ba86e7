"""What `grandmodel ensemble` does: find members, choose on validation, average, conclude.

Members are scored and chosen on the validation split alone. Once they are fixed, what they make
is concluded as a training is: compared with the baselines on the test split, exported with its
parity checked, registered, and kept as a run, which every command takes for one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.evaluation import EvaluationConfig
from configs.train import LayerTraining
from trainers import held_out
from trainers.commands import conclude, session_of
from trainers.ensemble.keeping import keep
from trainers.ensemble.members import By, Member, check_alike, combined, find_members
from trainers.ensemble.scoring import Scores
from trainers.ensemble.selection import Counts, Selection, alone, greedy, lowest
from trainers.evaluate import EvaluationReport
from trainers.evaluation.trials import CANDIDATES
from trainers.mappo.checkpoint import load_meta
from trainers.mappo.plan import POLICY
from trainers.memory import PeakMemory
from trainers.report import replace
from trainers.runs import RunFolder, new_run
from trainers.train import TrainResult
from trainers.work_folder import dated

FACTS_FILE = "ensemble.json"


@dataclass(frozen=True)
class EnsembleRequest:
    """What was asked for on the command line; see `trainers.cli_ensemble`."""

    layer: str
    places: Sequence[Path]
    by: By = "probabilities"
    select: bool = False
    rounds: int | None = None
    episodes: int | None = None
    output: str | None = None


def run_ensemble(request: EnsembleRequest, console: Console) -> tuple[RunFolder, EvaluationReport]:
    """Make an ensemble of trained policies and leave it as a run.

    Raises:
        GrandmodelError: members that do not go together, or whatever stops the conclusion.
    """
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        members = find_members(request.layer, request.places, Path(cache))
        if request.by == "weights":
            check_alike(members)
        first = members[0].run.config
        default = dated(first.output, f"ensemble-{first.run_stem}")
        folder = new_run(first, request.output or str(default))
        scores = Scores(members, request.by, _told(first, request.episodes))
        chosen = choose(scores, request.select, request.rounds)
        console.print(scores.table(chosen))
        for line in verdicts(scores, chosen):
            _say(console, line)
        return folder, _concluded(request, members, chosen, scores, folder, console)


def _told(config: LayerTraining, episodes: int | None) -> EvaluationConfig:
    """How members are scored: on validation episodes, as many as a comparison plays at least."""
    told = config.evaluation
    count = episodes or told.min_parents
    return held_out.validation(told, count + count % 2, told.batch_size)


def choose(scores: Scores, select: bool, rounds: int | None) -> Selection:
    """Members by greedy selection, or every one of them once; all scored either way.

    rounds: of the selection; twice as many as members by default.
    """
    count = len(scores.members)
    if select:
        return greedy(count, scores, scores.objective.lower_is_better, rounds or 2 * count)
    all_once = tuple([1] * count)
    asked = [*alone(count), all_once]
    return Selection(all_once, dict(zip(asked, scores(asked), strict=True)))


def verdicts(scores: Scores, chosen: Selection) -> list[str]:
    """What the choice is worth on the validation split, in words."""
    count = len(scores.members)
    sign = 1.0 if scores.objective.lower_is_better else -1.0
    best = min(alone(count), key=lambda counts: sign * chosen.tried[counts])
    name = scores.members[best.index(1)].name
    if lowest(chosen.counts) == best:
        return [f"selection: no average was better than '{name}' alone, which is what is exported"]
    found = scores.paired(chosen.counts, best)
    told = scores.objective
    if told.gained(found):
        outcome = f"is {told.better} than"
    elif told.lost(found):
        outcome = f"is not {told.better} than but WORSE than"
    else:
        outcome = "cannot be told apart from"
    lines = [
        f"on validation the ensemble {outcome} its best member '{name}': difference "
        f"{found.mean_difference:+.3f} {told.unit}, {scores.told.confidence:.0%} interval "
        f"[{found.low:+.3f}, {found.high:+.3f}], {found.n} {told.episodes}"
    ]
    if len(chosen.tried) > count + 1:
        lines.append(
            f"{len(chosen.tried)} candidates were scored on these episodes, so that the chosen "
            "one's score flatters it; the test split below has seen none of them"
        )
    return lines


def _concluded(
    request: EnsembleRequest,
    members: Sequence[Member],
    chosen: Selection,
    scores: Scores,
    folder: RunFolder,
    console: Console,
) -> EvaluationReport:
    run = members[0].run
    policy = combined(members, chosen.counts, request.by)
    facts = _facts(request, members, chosen, scores)
    text = (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()
    tags = {"ensemble": request.by, "ensemble.members": ", ".join(m.name for m in members)}
    steps = sum(
        load_meta(member.checkpoint).env_steps
        for member, count in zip(members, chosen.counts, strict=True)
        if count
    )
    with session_of(run.config, run.env, folder, console, tags) as session:
        checkpoint = keep(policy, run.config, steps, folder.path)
        replace(folder.report / FACTS_FILE, text)
        session.companions = {FACTS_FILE: lambda path: replace(path, text)}
        session.metrics = _metrics(request, chosen, scores)
        if session.tracking is not None:
            session.tracking.log(session.metrics, 0)
        result = TrainResult(
            actors={POLICY: policy},
            checkpoint=checkpoint,
            iterations=0,
            env_steps=steps,
            minutes=0.0,
            interrupted=False,
            peak_rss_bytes=PeakMemory().measure(),
            last=None,
        )
        return conclude(session, result)


def _metrics(request: EnsembleRequest, chosen: Selection, scores: Scores) -> dict[str, float]:
    """For the manifest and the tracking store."""
    each = [chosen.tried[counts] for counts in alone(len(scores.members))]
    best = min(each) if scores.objective.lower_is_better else max(each)
    return {
        "ensemble/members": float(sum(count > 0 for count in chosen.counts)),
        # Where nothing was chosen by its score, nothing else was tried.
        CANDIDATES: float(len(chosen.tried)) if request.select else 1.0,
        "ensemble/validation_score": chosen.tried[lowest(chosen.counts)],
        "ensemble/validation_best_member": best,
    }


def _facts(
    request: EnsembleRequest, members: Sequence[Member], chosen: Selection, scores: Scores
) -> dict[str, Any]:
    """What the ensemble is made of and how it was chosen, as plain JSON data."""

    def named(counts: Counts) -> dict[str, int]:
        pairs = zip(members, counts, strict=True)
        return {member.name: count for member, count in pairs if count}

    return {
        "layer": request.layer,
        "by": request.by,
        "selected": request.select,
        "split": "validation",
        "episodes": scores.episodes,
        "objective": scores.objective.metric,
        "counts": named(chosen.counts),
        "members": [
            {
                "name": member.name,
                "checkpoint": member.checkpoint.name,
                "seed": member.run.config.seed,
                "tracked": member.run.run.tracking_run,
            }
            for member in members
        ],
        "tried": [
            {"counts": named(counts), "score": score} for counts, score in chosen.tried.items()
        ],
    }


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

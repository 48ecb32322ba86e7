"""The page of results: what the published studies found, each figure with its command.

    python -m experiments.page

Writes experiments/results/README.md from the files that `--publish` left beside it, and nothing
else: a figure that no command makes is not on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import EXIT_CODE, TrainingError
from experiments.learning.settings import EVIDENCE
from trainers.report import replace

RESULTS = Path(__file__).parent / "results"
PAGE = "README.md"
_SHOWN = 8  # hex digits of a commit
# Of returns out of sample, told whatever they are; those that are shares of the account.
_MEASURES = ("annual_return", "sharpe", "max_drawdown", "hit_rate", "payoff_ratio")
_PERCENT = ("total_return", "annual_return", "volatility", "max_drawdown")
# Of layers that are paid for returns, told whatever they are.
_TOLD = ("win_rate", "payoff_ratio", "costs_bp", "worst_drawdown_bp")

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        what: it is of. figure: with its unit. interval: or spread over seeds; empty without.
        wanted: what it was to be; empty where it is reported whatever it is.
        seeds: trainings behind it. commit: on which they were made.
    """

    what: str
    figure: str
    interval: str
    wanted: str
    seeds: str
    commit: str


@dataclass(frozen=True)
class Section:
    """One study: a folder of files, and how each becomes rows."""

    folder: str
    title: str
    says: str
    command: str
    rows: Callable[[Data], Iterator[Row]]


def _learning(data: Data) -> Iterator[Row]:
    unit, trainings = data["objective"]["unit"], data["trainings"]
    lower, commit = data["objective"]["lower_is_better"], _commits(trainings)
    # Older files do not say when the baselines were played.
    rules = [{"made": data["baselines_made"]}] if "baselines_made" in data else []
    compared = _commits([*trainings, *rules])
    count = str(len(trainings))
    # Of noise a lead is not wanted.
    wanted = "" if EVIDENCE in data["wanted"] else "below 0" if lower else "above 0"
    for place, told in enumerate(data["differences"]):
        best = "the best, " if place == 0 else ""
        interval = "" if told["low"] is None else f"[{told['low']:+.3f}, {told['high']:+.3f}]"
        chance = "" if told["probability"] is None else f", P(better) {told['probability']:.3f}"
        yield Row(
            f"{data['part']}, {data['episodes']:,} held-out episodes, against {best}"
            f"{told['baseline']} ({data['baselines'][told['baseline']]:.3f} {unit})",
            f"{told['mean']:+.3f} {unit}{chance}",
            interval,
            wanted if place == 0 else "",
            f"{told['seeds_better']} of {count} better",
            compared,
        )
    figures = data["figures"]
    asked = dict.fromkeys((name for name in _TOLD if name in figures), "") | data["wanted"]
    for name, wanted in asked.items():
        told = name.replace("_", " ")
        ends = (end for end in ("lowest", "highest") if f"{name}_{end}" in figures)
        seeds = ", ".join(f"{end} seed {figures[f'{name}_{end}']:.4g}" for end in ends)
        yield Row(f"{data['part']}, {told}", f"{figures[name]:.4g}", seeds, wanted, count, commit)


def _walks(data: Data) -> Iterator[Row]:
    part, unit, total, count = data["part"], data["unit"], data["total"], len(data["folds"])
    told, commit = total["difference"], _shown(data["commits"])
    yield Row(
        f"{part}, {told['n']:,} episodes in {count} folds, against the best, {data['rival']} "
        f"({total['rival']['mean']:.3f} {unit})",
        f"{told['mean_difference']:+.3f} {unit}",
        f"[{told['low']:+.3f}, {told['high']:+.3f}]",
        "below 0" if data["lower_is_better"] else "above 0",
        f"{data['ahead']} of {count} folds ahead",
        commit,
    )
    traded = data["traded"]
    if traded is None:
        return
    better, alone, pbo = traded["better"], traded["alone"], traded["pbo"]
    for name in dict.fromkeys((*_MEASURES, *data["wanted"])):
        ends, form = traded["measures"]["policy"][name], "{:+.1%}" if name in _PERCENT else "{:.2f}"
        value, low, high = (
            "none" if ends[end] is None else form.format(ends[end])
            for end in ("value", "low", "high")
        )
        what = f"{part}, {name.replace('_', ' ')} over {alone['periods']:,} {traded['unit']}s"
        yield Row(what, value, f"[{low}, {high}]", data["wanted"].get(name, ""), str(count), commit)
    lead = f"{part}, lead over {traded['best_baseline']} by {traded['unit']}s"
    yield Row(lead, f"P(better) {better['probability']:.3f}", "", "", str(count), commit)
    dsr = "none" if alone["sharpe"] is None else f"{alone['dsr']:.3f}"
    yield Row(f"{part}, DSR", dsr, "", "", str(count), commit)
    if pbo is not None:
        yield Row(f"{part}, PBO", f"{pbo['pbo']:.2f}", "", "", str(count), commit)


def _ablation(data: Data) -> Iterator[Row]:
    unit, name = data["objective"]["unit"], data["objective"]["name"]
    for told in data["effects"]:
        interval = "" if told["low"] is None else f"[{told['low']:+.3f}, {told['high']:+.3f}]"
        plain, count = told["arm"] == "plain", len(told["seeds"])
        yield Row(
            f"{data['layer']}, {told['arm']}",
            f"{name} {told['mean']:.3f} {unit}" if plain else f"{told['effect']:+.3f} {unit}",
            "" if plain else interval,
            "",
            str(count) if plain else f"{told['better']} of {count} better",
            _commits(data["trainings"]),
        )


def _analytic(data: Data) -> Iterator[Row]:
    small = "turnover" in data["what"] or "above" in data["what"]
    yield Row(
        f"{data['task']}: {data['what']}",
        f"{data['mean']:.3f}",
        f"+- {data['spread']:.3f}",
        f"{'<=' if small else '>='} {data['wanted']:g}" + ("" if data["met"] else ", not met"),
        str(len(data["seeds"])),
        _commits(data["seeds"]),
    )


def _mpe(data: Data) -> Iterator[Row]:
    judged = "; ".join(f"{what}{'' if met else ', not met'}" for what, met in _judged(data))
    yield Row(
        f"{data['task']}: return of the mode (random: {data['random']:.2f})",
        f"{data['greedy']:.2f}",
        f"+- {data['greedy_spread']:.2f}",
        judged,
        str(len(data["seeds"])),
        _commits(data["seeds"]),
    )


def _judged(data: Data) -> list[tuple[str, bool]]:
    judged = data["judged"]
    return list(judged.items()) if isinstance(judged, Mapping) else []


def _evidence(data: Data) -> Iterator[Row]:
    for told in data["results"]:
        noise = told["world"].startswith("noise")
        wanted = ""
        if told["target"] is not None:
            bound = f"{'<=' if noise else '>='} {told['target']:.0%}"
            wanted = bound + ("" if told["met"] else ", not met")
        yield Row(
            f"{told['world']}: {told['says']}; {told['panels']:,} panels of {told['candidates']}",
            f"{told['evidence']['verdict']:.1%} told as evidence",
            f"+- {told['standard_error']:.1%}",
            wanted,
            "",
            data["made"]["commit"][:_SHOWN],
        )


def _commits(made: Sequence[Data]) -> str:
    return _shown([one["made"]["commit"] for one in made])


def _shown(commits: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(commit[:_SHOWN] for commit in commits))


SECTIONS = (
    Section(
        "learning",
        "Do the layers learn?",
        "Full trainings against every baseline on the same held-out episodes of the built-in "
        "market. The interval redraws seeds and paths together; the best baseline is chosen on "
        "the episodes that it is compared on, in its favour. Parts named trending, swinging and "
        "noise are of markets of their own (presets, `experiments/learning/learning.yaml`); their "
        "tactical layers train under a first policy of the strategic part of that market, trained "
        "before them; where that part was run anew since, its figures are of later policies.",
        "python -m experiments.learning",
        _learning,
    ),
    Section(
        "walks",
        "Do the layers earn on real bars?",
        "Walk-forward on the sample of real bars (E-mini Nasdaq-100, half hours): retrained fold "
        "by fold on the past, judged on what comes after, net of costs; one training a fold. The "
        "best baseline is chosen on the episodes that it is compared on, in its favour. Measures "
        "are of every out-of-sample bar once. The tactical layer plays under a strategic target "
        "that knows nothing of the bars: to follow it earns nothing.",
        "python -m experiments.walks",
        _walks,
    ),
    Section(
        "ablation",
        "What parts of the networks buy",
        "Short trainings paired by seed: what each part adds to plain networks whose agents "
        "decide at once. Student's interval over seeds.",
        "python -m experiments.ablation",
        _ablation,
    ),
    Section(
        "analytic",
        "Markets of known optimum",
        "Trainings on markets whose best policy is computed by dynamic programming, or on the "
        "book with the answer shown. The spread is over seeds.",
        "python -m experiments.analytic",
        _analytic,
    ),
    Section(
        "mpe",
        "Other people's environments",
        "MAPPO on particle environments of `mpe2`. The spread is over seeds.",
        "python -m experiments.mpe",
        _mpe,
    ),
    Section(
        "evidence",
        "How often noise is told as evidence",
        "The verdict of `grandmodel evaluate` on synthetic panels of results.",
        "python -m experiments.evidence",
        _evidence,
    ),
)


def page(results: Path = RESULTS) -> str:
    """The page, as Markdown.

    Raises:
        TrainingError: a published file is none of its study's.
    """
    parts = [
        "# Results",
        "",
        "Written by `python -m experiments.page` from the files beside it. Each study's command "
        "makes its figures anew; `--publish` writes its file. Speeds are not here: `python -m "
        "experiments.bench` prints them as ratios of one run.",
    ]
    for section in SECTIONS:
        rows = [row for path in _files(results, section) for row in _rows(path, section)]
        if rows:
            parts += ["", f"## {section.title}", "", f"{section.says} `{section.command}`", ""]
            parts += _table(rows)
    return "\n".join(parts) + "\n"


def _files(results: Path, section: Section) -> list[Path]:
    return sorted((results / section.folder).glob("*.json"))


def _rows(path: Path, section: Section) -> list[Row]:
    try:
        return list(section.rows(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise TrainingError(
            f"{path} is no result of {section.command} ({type(error).__name__}: {error}); publish "
            "it again"
        ) from error


def _table(rows: Sequence[Row]) -> list[str]:
    heads = ("what", "figure", "interval", "wanted", "seeds", "commit")
    out = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        cells = (row.what, row.figure, row.interval, row.wanted, row.seeds, row.commit)
        out.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.page", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of published files")
    given = parser.parse_args(arguments)
    try:
        replace(given.results / PAGE, page(given.results).encode())
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    print(given.results / PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())

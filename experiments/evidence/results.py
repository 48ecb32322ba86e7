"""The study's results as a table and as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from experiments.evidence.study import VERDICT, WORLDS, Counted
from experiments.studies import made
from trainers.report import replace

FILE = "evidence.json"


def table(results: Sequence[Counted]) -> Table:
    """Share of panels with evidence, by world and rule."""
    size = results[0].size
    shown = Table(
        title=f"'evidence' in {size.panels:,} panels of {size.candidates} candidates over "
        f"{size.years:g} years of days",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="share of panels where a rule finds evidence at 95%; verdict: the framework's; "
        "best alone: PSR, as if nothing else had been tried; no trends: the verdict without "
        "counting autocorrelation",
        caption_justify="left",
    )
    rules = [rule for rule in results[0].evidence if rule != VERDICT]
    for header in ("world", VERDICT, "asked", "", *rules, "best Sharpe"):
        shown.add_column(header, justify="left" if header == "world" else "right", no_wrap=True)
    for result in results:
        figure = result.figure
        shown.add_row(
            result.world,
            f"{result.evidence[VERDICT]:.1%} +- {2 * result.standard_error:.1%}",
            f"{'<=' if figure.at_most else '>='} {WORLDS[result.world].target:.0%}",
            "met" if figure.met else "NOT MET",
            *(f"{result.evidence[rule]:.1%}" for rule in rules),
            f"{result.best:.2f}",
        )
    return shown


def write(results: Sequence[Counted], folder: Path) -> Path:
    """Write the results and what they were made with to `folder`."""
    found = {"made": made(), "results": [result.as_dict() for result in results]}
    path = folder / FILE
    replace(path, (json.dumps(found, indent=2) + "\n").encode())
    return path

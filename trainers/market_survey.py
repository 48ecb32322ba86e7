"""`grandmodel market report`: the simulated market's facts, beside a real one's, on one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from configs.messages import MessagesConfig
from market.facts import ImpactSample, facts
from market.history_record import record_messages
from market.messages import load_messages
from market.record import record_market
from market.recording import Recording
from trainers.impact_curve import fixed_horizon, fixed_participation
from trainers.market_report import facts_table, write_report

HOUR = 3600.0


@dataclass(frozen=True)
class SurveyRequest:
    """What to simulate and measure."""

    env: ExecutionConfig
    facts: FactsConfig
    real: MessagesConfig | None
    output: Path
    hours: int
    paths: int  # of the impact curves; 0 leaves them out
    seed: int


def simulate(env: ExecutionConfig, hours: int, seed: int) -> list[Recording]:
    """Recordings of the simulated market, an hour each."""
    return [record_market(env, HOUR, seed + number) for number in range(hours)]


def impact_curves(env: ExecutionConfig, paths: int, seed: int) -> dict[str, ImpactSample]:
    """The impact of own orders, over one horizon and at one share of volume."""
    return {
        "fixed_horizon": fixed_horizon(env, paths, seed),
        "fixed_participation": fixed_participation(env, paths, seed),
    }


def run_report(request: SurveyRequest, console: Console, as_json: bool) -> None:
    """Measure, write the page, print the verdicts.

    Raises:
        ConfigError: the market is driven by bars, whose single bars hold no hour.
        DataError: the file of real messages is wrong.
    """
    if request.env.market.reference.kind == "bars":
        raise ConfigError(
            "market.reference.kind=bars: a report simulates hours without a break; "
            "expected kind: generator (python -m experiments.tracking measures bars)"
        )
    quiet = Console(quiet=True) if as_json else console
    real = None
    if request.real is not None:
        with _task(quiet, f"reading {request.real.path}"):
            real = [record_messages(load_messages(request.real))]
    with _task(quiet, f"simulating {request.hours} hours"):
        simulated = simulate(request.env, request.hours, request.seed)
    impact = None
    if request.paths > 0:
        with _task(quiet, "measuring impact"):
            impact = impact_curves(request.env, request.paths, request.seed)
    with _task(quiet, "measuring facts"):
        found = write_report(
            simulated,
            real,
            impact,
            request.output,
            config=request.facts,
            settings={"market": request.env.market},
        )
    if as_json:
        plain = {"report": str(request.output), "facts": [fact.as_dict() for fact in found]}
        console.print_json(json.dumps(plain))
        return
    beside = facts(real, request.facts) if real else ()
    console.print(facts_table(found, beside))
    console.print(f"report: {request.output}")


@contextmanager
def _task(console: Console, what: str) -> Iterator[None]:
    with console.status(what):
        yield

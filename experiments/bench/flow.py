"""`bench flow`: generated order flow, how fast it comes and whether it behaves like a market's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from experiments.bench.reference import reference_messages_per_s
from experiments.bench.report import Figure, speed
from experiments.bench.timing import median_cpu_seconds
from market.desk import desk_at
from market.facts import Fact, facts, impact_facts
from market.kernels import kernel
from market.own import advance
from market.record import record_market
from market.simulator import Simulator
from market.trips import pump_and_dump, random_trip, round_trips
from trainers.impact_curve import fixed_horizon, fixed_participation

SPEED_TARGET = 10e6  # messages a CPU-second
HOUR = 3600.0
SURE = 3.0  # standard errors


@dataclass(frozen=True)
class FlowSizes:
    """How much the benchmark simulates."""

    hours: int = 4  # of simulated time, for the speed
    repeats: int = 7
    recorded_hours: int = 16
    impact_paths: int = 512
    trips: int = 1024
    reference_messages: int = 200_000
    seed: int = 0


def figures(sizes: FlowSizes | None = None) -> list[Figure]:
    """Every figure of the benchmark."""
    sizes = sizes or FlowSizes()
    return [
        _speed(sizes),
        *(_figure(fact) for fact in measured_facts(sizes)),
        *_round_trips(sizes),
    ]


def measured_facts(sizes: FlowSizes) -> list[Fact]:
    """The stylised facts of pooled hours, and the exponents of the impact curves."""
    config, settings = ExecutionConfig(), FactsConfig()
    seeds = range(sizes.seed, sizes.seed + sizes.recorded_hours)
    recordings = [record_market(config, HOUR, seed) for seed in seeds]
    curves = {
        "fixed_horizon": fixed_horizon(config, sizes.impact_paths, sizes.seed),
        "fixed_participation": fixed_participation(config, sizes.impact_paths, sizes.seed),
    }
    return [*impact_facts(curves, settings), *facts(recordings, settings)]


def _figure(fact: Fact) -> Figure:
    """A fact as a figure: judged where its range is set."""
    bounds = (fact.target.low, fact.target.high) if fact.target.is_set else None
    value = float("nan") if fact.value is None else fact.value
    return Figure(fact.name, value, fact.unit, target=bounds, of_value=True)


@kernel
def _run(market: Any, step_seconds: float, steps: int) -> None:
    """The background flow of the first episode."""
    for step in range(steps):
        market.tape_count[0] = 0
        advance(desk_at(market, 0), market.flow[0], (step + 1) * step_seconds)


def _speed(sizes: FlowSizes) -> Figure:
    """Background flow of one market, with all that makes it: arrivals, metaorders, impact."""
    config = ExecutionConfig()
    steps = int(sizes.hours * HOUR / config.step_seconds)
    parent = config.parent.model_copy(update={"horizon_steps": steps})
    simulator = Simulator(config.model_copy(update={"parent": parent}), 1)
    row, seed = np.arange(1), np.array([sizes.seed], np.uint64)
    arrivals = simulator.market.episodes["arrivals"]

    def reset() -> None:
        simulator.reset(row, seed)

    def run() -> None:
        _run(simulator.market, config.step_seconds, steps)

    seconds = median_cpu_seconds(run, sizes.repeats, reset)
    after = int(arrivals[0])
    reset()
    rate = (after - int(arrivals[0])) / seconds
    reference = reference_messages_per_s(sizes.reference_messages, sizes.seed)
    words = "Python book, messages made beforehand"
    figure = speed("flow_messages_per_s", rate, "messages/s", words, reference)
    return replace(figure, target=SPEED_TARGET, of_value=True)


def _round_trips(sizes: FlowSizes) -> list[Figure]:
    """Mean profit of trips that end flat, fees left out; below zero by three errors and more."""
    out = []
    for plan in (random_trip, pump_and_dump):
        profit = round_trips(ExecutionConfig(), plan, sizes.trips, sizes.seed)
        bound = float(profit.mean() + SURE * profit.std() / np.sqrt(len(profit)))
        unit = "ticks/unit"
        out.append(Figure(f"{plan.__name__}_profit", float(profit.mean()), unit))
        name = f"{plan.__name__}_profit_bound"
        out.append(Figure(name, bound, unit, target=0.0, at_most=True))
    return out

"""Calibrates the stages of the execution layer's curriculum on the simulated market.

    python -m experiments.stages [--paths 512] [--output configs/presets/curriculum.yaml]

A stage is asked for by what a trader would measure: volatility a year, mean spread in
ticks, and impact as a fraction of the price after an order of 1% of the volume. What
sets them is found by search: the scale of placement distances for the spread (bisection
on its logarithm), the impact's Y (secant: impact is nearly proportional to it), and for
the schedule the cost of crossing that `experiments.impact` measures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.curriculum import CurriculumConfig, StageConfig
from configs.errors import EXIT_CODE, GrandmodelError
from configs.execution import ExecutionConfig
from configs.facts import FactsConfig
from configs.loading import load_config
from configs.mappo import MappoConfig
from configs.yaml_text import dump
from experiments import impact
from market.facts import Sample
from market.facts.quotes import spread_mean
from market.record import record_market
from trainers.impact_curve import displacement

PARTICIPATION = 0.01
HOURS, SEED = 2, 1000
_SECONDS = 3600.0
_SCALES = (0.5, 40.0)  # of placement, ticks: between them lie spreads of one to forty
_SPREAD_TOLERANCE, _IMPACT_TOLERANCE = 0.02, 0.03
_ROUNDS = 12
_FURTHEST = 25.0  # placement limit over placement scale: 40 ticks at the default of 1.6


@dataclass(frozen=True)
class Wanted:
    """One stage: volatility a year, mean spread in ticks, impact at 1% as a share of the price.

    regimes: how many of the default ones, from trends to all four; minutes: how long one
    lasts on average.
    """

    name: str
    volatility: float
    spread: float
    impact: float
    regimes: tuple[str, ...]
    minutes: float


_ALL = ("BULL", "BEAR", "SIDEWAYS", "VOLATILE")
STAGES = (
    Wanted("trends", 0.10, 3.0, 0.0005, ("BULL", "BEAR"), 100_000.0),
    Wanted("slow-switching", 0.15, 5.0, 0.001, ("BULL", "BEAR"), 240.0),
    Wanted("three-regimes", 0.20, 8.0, 0.0015, ("BULL", "BEAR", "SIDEWAYS"), 180.0),
    Wanted("four-regimes", 0.25, 12.0, 0.002, _ALL, 120.0),
    Wanted("fast-switching", 0.30, 20.0, 0.003, _ALL, 30.0),
)


def laid_over(config: ExecutionConfig, over: dict[str, Any]) -> ExecutionConfig:
    """`config` with `over` merged in, validated."""
    return load_config(ExecutionConfig, config.model_dump(mode="json"), over)


def regimes(config: ExecutionConfig, wanted: Wanted) -> list[dict[str, Any]]:
    """The named regimes of `config`, their root mean square volatility scaled to the stage's."""
    reference = config.market.reference
    if reference.kind != "generator":
        raise GrandmodelError("stages are calibrated on the built-in generator")
    chosen = [regime for regime in reference.regimes if regime.name in wanted.regimes]
    scale = wanted.volatility / float(np.sqrt(np.mean([r.volatility**2 for r in chosen])))
    return [r.model_dump() | {"volatility": round(r.volatility * scale, 4)} for r in chosen]


def placement(scale: float) -> dict[str, Any]:
    """The part of a configuration that sets the spread."""
    flow = {"placement_scale": round(scale, 4), "placement_limit": round(_FURTHEST * scale)}
    return {"market": {"flow": flow}}


def measured_spread(config: ExecutionConfig) -> float:
    """Mean spread in ticks over `HOURS` recordings of an hour."""
    recordings = [record_market(config, _SECONDS, SEED + hour) for hour in range(HOURS)]
    return float(spread_mean(Sample(tuple(recordings), FactsConfig())).value)


def find_placement(config: ExecutionConfig, spread: float) -> float:
    """The placement scale at which the mean spread is `spread`, by bisection."""
    low, high = _SCALES
    scale = float(np.sqrt(low * high))
    for _ in range(_ROUNDS):
        found = measured_spread(laid_over(config, placement(scale)))
        if abs(found / spread - 1.0) <= _SPREAD_TOLERANCE:
            break
        low, high = (scale, high) if found < spread else (low, scale)
        scale = float(np.sqrt(low * high))
    return scale


def measured_impact(config: ExecutionConfig, paths: int) -> float:
    """Share of the price by which an order of 1% of the volume has moved it at its end."""
    ticks = displacement(config, config.parent.horizon_steps, PARTICIPATION, paths, SEED)
    reference = config.market.reference
    price = reference.price if reference.kind == "generator" else float("nan")
    return float(ticks.mean()) * config.market.tick / price


def find_impact(config: ExecutionConfig, wanted: float, paths: int) -> float:
    """The impact's Y at which `measured_impact` is `wanted`."""
    scale = config.market.flow.impact.scale
    for _ in range(_ROUNDS):
        over = {"market": {"flow": {"impact": {"scale": scale}}}}
        found = measured_impact(laid_over(config, over), paths)
        if abs(found / wanted - 1.0) <= _IMPACT_TOLERANCE:
            break
        scale *= wanted / found
    return scale


def calibrate(base: ExecutionConfig, wanted: Wanted, paths: int) -> tuple[dict[str, Any], str]:
    """What is laid over `base` for a stage, and what was measured with it."""
    reference = {
        "kind": "generator",
        "regimes": regimes(base, wanted),
        "mean_regime_minutes": wanted.minutes,
    }
    over: dict[str, Any] = {"market": {"reference": reference}}
    config = laid_over(base, over)
    flow = placement(find_placement(config, wanted.spread))["market"]["flow"]
    over["market"]["flow"] = flow
    config = laid_over(base, over)
    flow["impact"] = {"scale": round(find_impact(config, wanted.impact, paths), 3)}
    config = laid_over(base, over)
    half_spread, slope = impact.measure(config)
    over["schedule"] = {"half_spread_bp": round(half_spread, 2), "impact_slope_bp": round(slope, 2)}
    said = (
        f"{wanted.name}: spread {measured_spread(config):.2f} ticks (wanted {wanted.spread:g}), "
        f"impact at 1% {measured_impact(config, paths):.2e} (wanted {wanted.impact:g})"
    )
    return over, said


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate every stage and write the preset."""
    parser = argparse.ArgumentParser(prog="python -m experiments.stages")
    parser.add_argument("--paths", type=int, default=512, help="pairs of the impact's measurement")
    parser.add_argument("--output", type=Path, default=Path("configs/presets/curriculum.yaml"))
    options = parser.parse_args(arguments)
    try:
        base, stages, notes = ExecutionConfig(), [], []
        for wanted in STAGES:
            over, said = calibrate(base, wanted, options.paths)
            print(said, flush=True)
            notes.append(said)
            stages.append(StageConfig(name=wanted.name, kwargs={"config": over}))
        curriculum = CurriculumConfig(stages=tuple(stages))
        MappoConfig(curriculum=curriculum)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    head = (
        "# Five stages of the execution layer's market, calibrated by `experiments.stages`;\n"
        "# the policy is judged in the last.\n"
    )
    text = head + "".join(f"# {note}\n" for note in notes)
    hardest = stages[-1].kwargs["config"]
    named = hardest | {"market": hardest["market"] | {"name": stages[-1].name}}
    learning = {"curriculum": curriculum.model_dump(mode="json")}
    tree = {"layer": "execution", "env": named, "mappo": learning}
    options.output.write_text(text + dump(tree), encoding="utf-8")
    print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Thin flow beside the full one: spread, depth, volume, and what an order costs.

    python -m experiments.thin [FACTOR ...] [--config FILE] [--fit FACTOR] [--json]

A parent of a given share of five minutes' volume is worked by TWAP in steps of 30 s. Its
cost is what it pays beyond the mid at its arrival, per unit and without fees, own impact
included; a buyer and a seller on the same path, so that the path cancels. `--fit` looks
for the row of `configs.thinning.THIN_TABLE` at one factor.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs.errors import EXIT_CODE, GrandmodelError
from configs.execution import ExecutionConfig
from configs.market import FlowConfig
from configs.thinning import ThinPoint
from configs.train import load_train_config
from envs.execution import make_batched
from market.facts import quotes
from market.facts.sample import pooled
from market.record import record_market
from market.thin import apply_point, point_at, thin
from trainers.baselines import ScheduleBaseline

FACTORS = (1.5, 2.0, 3.5, 5.0, 7.0, 10.0)
SHARES = (0.01, 0.05, 0.10)
STEP_SECONDS, HORIZON_STEPS = 30.0, 10
RECORDED_SECONDS = 3600.0
_FIT_ERROR = {"spread": 0.03, "depth": 0.04, "volume": 0.04, "cost": 0.04}
_EMPTY_ERROR = 0.01  # share of time that a side is empty
_FIT_STEPS = 150

Say = Callable[[str], None]


@dataclass(frozen=True)
class ThinFigures:
    """A flow's market. Costs are ticks a unit, by share of volume as in SHARES."""

    messages: float  # a second
    spread: float  # ticks
    depth: float  # units a side within 20 ticks
    depth_at_best: float
    volume: float  # units a second at the flow's own mean rate
    one_sided: float  # share of time
    cost: tuple[float, ...]
    cost_error: tuple[float, ...]  # standard errors


def with_flow(config: ExecutionConfig, flow: FlowConfig, share: float) -> ExecutionConfig:
    """`config` with this flow, and parents of `share` of the volume of five minutes."""
    parent = config.parent.model_copy(
        update={
            "horizon_steps": HORIZON_STEPS,
            "participation_low": share,
            "participation_high": share,
        }
    )
    market = config.market.model_copy(update={"flow": flow})
    return config.model_copy(
        update={"parent": parent, "market": market, "step_seconds": STEP_SECONDS}
    )


def cost_of(
    config: ExecutionConfig, flow: FlowConfig, share: float, paths: int, seed: int = 0
) -> tuple[float, float]:
    """(mean, standard error) of the cost of a parent, ticks a unit, over `paths` paths."""
    changed = with_flow(config, flow, share)
    env = make_batched(2 * paths, seed, changed, paired_sides=True)
    env.reset(seeds=np.arange(2 * paths, dtype=np.uint64) + np.uint64(2 * seed * paths))
    twap = ScheduleBaseline(changed, risk_averse=False)
    twap.reset(2 * paths)
    for _ in range(HORIZON_STEPS - 1):
        env.step(twap.act(env.rows))
    names, prices = list(env.metric_names), env.simulator.market.episodes["base"]
    prices = prices + env.simulator.market.parents["arrival"]
    env.step(twap.act(env.rows))
    metrics = env.episode_metrics
    beyond = metrics[:, names.index("shortfall_bp")] - metrics[:, names.index("fees_bp")]
    pairs = (beyond * 1e-4 * prices).reshape(paths, 2).mean(axis=1)
    return float(pairs.mean()), float(pairs.std() / np.sqrt(paths))


def measure(
    config: ExecutionConfig, flow: FlowConfig, hours: int, paths: int, seed: int = 0
) -> ThinFigures:
    """All figures of one flow, from `hours` recordings of an hour and `paths` paired paths."""
    changed = with_flow(config, flow, SHARES[0])
    sample = pooled(
        [record_market(changed, RECORDED_SECONDS, seed + number) for number in range(hours)]
    )
    seconds = sum(recording.seconds for recording in sample.recordings)
    messages = sum(len(recording.message_time) for recording in sample.recordings)
    traded = sum(float(recording.trade_quantity.sum()) for recording in sample.recordings)
    depth = quotes.depth_profile(sample)
    costs = [cost_of(config, flow, share, paths, seed) for share in SHARES]
    return ThinFigures(
        messages=messages / seconds,
        spread=quotes.spread_mean(sample).value,
        depth=float(depth.sum()),
        depth_at_best=float(depth[0]),
        # By message: how many came in these hours is chance, the mean rate is not.
        volume=traded / messages * flow.arrivals.messages_per_second,
        one_sided=quotes.one_sided(sample).value,
        cost=tuple(mean for mean, _ in costs),
        cost_error=tuple(error for _, error in costs),
    )


def fit(
    config: ExecutionConfig, factor: float, hours: int, paths: int, say: Say, seed: int = 0
) -> ThinPoint:
    """The row for `factor` whose market is nearest to the full flow's, from the table's own."""
    from scipy.optimize import minimize

    full = measure(config, config.market.flow, hours, paths, seed)
    start = point_at(factor)
    names = [name for name in ThinPoint.model_fields if name != "factor"]
    least = np.inf

    def misfit(logs: np.ndarray) -> float:
        nonlocal least
        values = {name: float(np.exp(x)) for name, x in zip(names, logs, strict=True)}
        point = ThinPoint(factor=factor, **values)
        try:
            found = measure(config, apply_point(config.market.flow, point), hours, paths, seed)
        except GrandmodelError:
            return 1e9
        total = (
            sum(
                (np.log(getattr(found, name) / getattr(full, name)) / _FIT_ERROR[name]) ** 2
                for name in ("spread", "depth", "volume")
            )
            + (found.one_sided / _EMPTY_ERROR) ** 2
        )
        for thin_cost, full_cost in zip(found.cost, full.cost, strict=True):
            total += (np.log(max(thin_cost, 1e-9) / full_cost) / _FIT_ERROR["cost"]) ** 2
        if total < least:
            least = float(total)
            say(f"{total:.1f}: {point.model_dump()} {_line(found, full)}")
        return float(total)

    logs = np.log([getattr(start, name) for name in names])
    done = minimize(misfit, logs, method="Nelder-Mead", options={"maxfev": _FIT_STEPS})
    return ThinPoint(factor=factor, **dict(zip(names, np.exp(done.x).tolist(), strict=True)))


def _line(found: ThinFigures, full: ThinFigures) -> str:
    """Figures over the full flow's."""
    ratios = [f"{name} {getattr(found, name) / getattr(full, name):.3f}"
              for name in ("spread", "depth", "depth_at_best", "volume")]  # fmt: skip
    for share, a, b, error in zip(SHARES, found.cost, full.cost, found.cost_error, strict=True):
        ratios.append(f"cost of {share:.0%} {a / b:.3f} (+-{error / b:.3f})")
    return ", ".join(ratios) + f", one-sided {found.one_sided:.2%}"


def main(arguments: list[str]) -> int:
    """Print every factor's figures over the full flow's, or the row that `--fit` finds."""
    parser = argparse.ArgumentParser(prog="python -m experiments.thin", description=__doc__)
    parser.add_argument("factors", nargs="*", type=float, default=list(FACTORS))
    parser.add_argument("--config", type=Path, action="append", default=[])
    parser.add_argument("--fit", type=float)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        config = load_train_config("execution", [], given.config, [], None).env
        if given.fit is not None:
            print(fit(config, given.fit, given.hours, given.paths, print, given.seed))
            return 0
        flow = config.market.flow
        full = measure(config, flow, given.hours, given.paths, given.seed)
        rows = {
            factor: measure(config, thin(flow, factor), given.hours, given.paths, given.seed)
            for factor in given.factors
        }
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    if given.json:
        print(json.dumps({"full": asdict(full), "thin": {k: asdict(v) for k, v in rows.items()}}))
        return 0
    print(f"full: {asdict(full)}")
    for factor, row in rows.items():
        print(f"thin by {factor:g} ({row.messages:.2f} messages/s): {_line(row, full)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

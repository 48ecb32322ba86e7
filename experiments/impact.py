"""Measures what crossing costs on the simulated book: `schedule.half_spread_bp`, `impact_slope_bp`.

    python -m experiments.impact [PRESET ...]

A parent of a given share of one step's expected volume is crossed in one step, with
own impact off. The intercept of slippage over that share is the half spread,
the slope the temporary impact.
"""

from __future__ import annotations

import sys

import numpy as np

from configs.errors import EXIT_CODE, GrandmodelError
from configs.execution import ExecutionConfig
from configs.train import load_train_config
from envs.execution import make_batched
from trainers.baselines import ScheduleBaseline

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
PARENTS = 2048
SEED = 0


def slippage_bp(config: ExecutionConfig, share: float) -> float:
    """Mean slippage in bp of crossing `share` of a step's volume in one step."""
    parent = config.parent.model_copy(
        update={"horizon_steps": 1, "participation_low": share, "participation_high": share}
    )
    still = config.market.flow.impact.model_copy(update={"scale": 0.0})
    flow = config.market.flow.model_copy(update={"impact": still})
    market = config.market.model_copy(update={"flow": flow})
    once = config.model_copy(update={"parent": parent, "market": market})
    env = make_batched(PARENTS, SEED, once, paired_sides=True)
    env.reset()
    env.step(ScheduleBaseline(once, risk_averse=False).act(env.rows))
    return float(env.episode_metrics[:, env.metric_names.index("slippage_bp")].mean())


def measure(config: ExecutionConfig) -> tuple[float, float]:
    """(half spread, impact slope) in bp, by least squares over SHARES."""
    costs = [slippage_bp(config, share) for share in SHARES]
    slope, intercept = np.polyfit(SHARES, costs, 1)
    for share, cost in zip(SHARES, costs, strict=True):
        print(f"share {share:4.2f} of a step's volume: slippage {cost:.3f} bp")
    return float(intercept), float(slope)


def main(presets: list[str]) -> int:
    """Print both figures for the execution layer under `presets`."""
    try:
        config = load_train_config("execution", presets, [], [], None).env
        half_spread, slope = measure(config)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    print(f"half_spread_bp {half_spread:.2f}, impact_slope_bp {slope:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

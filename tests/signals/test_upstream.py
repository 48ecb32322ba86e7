"""Sampled superpositions of the layers above."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.execution import BatchedExecution
from signals.execution import CONTEXT
from signals.upstream import CONFIDENT, CONTEXT_WIDTH, sample_context
from tests.market.episodes import configured, paired_seeds
from tests.market.test_reference import bars_config, synthetic_bars

NAMES = [column.name for column in CONTEXT]
LAYERS = ("strategic", "tactical")


def context(seed: int, side: int, move: float, coefficient: float, sharpness: float = 0.8) -> Any:
    out = np.full(CONTEXT_WIDTH, np.nan)
    sample_context(np.uint64(seed), 0, side, move, coefficient, sharpness, out)
    return dict(zip(NAMES, out.tolist(), strict=True))


@pytest.mark.parametrize("sharpness", [0.1, 0.8, 6.0])
def test_superpositions_have_their_closed_forms(sharpness: float) -> None:
    for seed in range(100):
        out = context(seed, 1, 0.5, 0.1, sharpness)
        for layer in LAYERS:
            p = [out[f"{layer}_{name}"] for name in ("against", "hold", "with")]
            assert sum(p) == pytest.approx(1.0)
            assert all(value > 0.0 for value in p)
            assert out[f"{layer}_confidence"] == max(p)
            entropy = -sum(value * math.log(value) for value in p)
            assert out[f"{layer}_coherence"] == pytest.approx(1 - entropy / math.log(3), abs=1e-12)
            # The softmax over (-signal, 0, signal).
            assert p[0] * p[2] == pytest.approx(p[1] ** 2)
        assert out["risk_share"] in (0.25, 0.5, 0.75, 1.0)
        assert 0.0 <= out["entanglement"] <= 1.0
        assert (out["entanglement"] > 0) == (out["strategic_confidence"] >= CONFIDENT)


def test_the_two_sides_read_the_same_signal_the_other_way_round() -> None:
    for seed in range(20):
        buy, sell = context(seed, 1, 1.3, 0.1), context(seed, -1, 1.3, 0.1)
        for layer in LAYERS:
            assert buy[f"{layer}_with"] == pytest.approx(sell[f"{layer}_against"])
            assert buy[f"{layer}_coherence"] == pytest.approx(sell[f"{layer}_coherence"])
        assert buy["entanglement"] == sell["entanglement"]
        assert buy["risk_share"] == sell["risk_share"]


def signals(coefficient: float, rows: int) -> dict[str, NDArray[np.float64]]:
    """Signals, as log odds over the side, of many episodes of the generator; their moves."""
    env = BatchedExecution(
        configured(
            upstream__information_coefficient=coefficient,
            # Small books: only the paths matter here.
            market__book__slots=64,
            market__book__ladder_levels=512,
            market__flow__resting_orders=16,
            market__flow__warmup_steps=1,
            market__flow__arrivals__messages_per_second=0.5,
        ),
        rows,
        paired_sides=True,
    )
    env.reset(seeds=paired_seeds(rows, 17))
    table = dict(zip(NAMES, env.context.T, strict=True))
    market = env.simulator.market
    side = market.parents["side"]
    move = market.path[:, -1] - market.path[:, 0]
    out = {"move": move / market.episodes["sigma"]}
    for layer in LAYERS:
        out[layer] = side * np.log(table[f"{layer}_with"] / table[f"{layer}_against"])
    return {name: values[::2] for name, values in out.items()}


@pytest.mark.parametrize("coefficient", [0.0, 0.1])
def test_the_information_coefficient_is_realised(coefficient: float) -> None:
    rows = 12_000
    found = signals(coefficient, rows)
    error = 1.0 / math.sqrt(rows / 2)
    for layer in LAYERS:
        correlation = np.corrcoef(found[layer], found["move"])[0, 1]
        assert abs(correlation - coefficient) < 3.5 * error
    if coefficient > 0.0:
        assert np.corrcoef(found["strategic"], found["move"])[0, 1] > 2.0 * error
    assert abs(np.corrcoef(found["strategic"], found["tactical"])[0, 1]) < 4.0 * error + 0.01


def test_no_signal_knows_a_real_bar(tmp_path: Path) -> None:
    """On bars the coefficient is 0, whatever is configured: the context is noise alone."""
    path = synthetic_bars(tmp_path)
    rows = 8
    tables = []
    for coefficient in (0.0, 0.1):
        config = bars_config(path)
        upstream = config.upstream.model_copy(update={"information_coefficient": coefficient})
        env = BatchedExecution(config.model_copy(update={"upstream": upstream}), rows, seed=3)
        env.reset()
        tables.append(env.context.copy())
    assert np.array_equal(tables[0], tables[1])

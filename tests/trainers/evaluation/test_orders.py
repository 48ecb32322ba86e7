"""A backtest of parent orders: the same orders for all, and what is recorded of the policy."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import numpy as np
import pytest

from configs.errors import DataError
from configs.evaluation import EvaluationConfig
from envs.execution import BatchedExecution
from market import decode
from signals.execution import EXECUTION
from tests.market.episodes import configured
from trainers.baselines import ScheduleBaseline, execution_baselines
from trainers.evaluation import plots
from trainers.evaluation.findings import Findings, of_orders
from trainers.evaluation.orders import Orders, Recorder, play_orders
from trainers.evaluation.page import report_page
from trainers.evaluation.subject import POLICY
from trainers.volume_baselines import volume_baselines

CONFIG = configured(parent__horizon_steps=12)
SLICE, PARENTS = 4, 96


def _make(num: int) -> BatchedExecution:
    return BatchedExecution(CONFIG, num, 0, "test", paired_sides=True)


@pytest.fixture(scope="module")
def orders() -> Orders:
    told = EvaluationConfig(batch_size=48, bootstrap_samples=200)
    baselines = {**execution_baselines(CONFIG, SLICE), **volume_baselines(CONFIG, SLICE)}
    return play_orders(
        _make, ScheduleBaseline(CONFIG, False, SLICE), baselines, told, parents=PARENTS
    )


@pytest.fixture(scope="module")
def found(orders: Orders) -> Findings:
    return of_orders(orders, "execution", trials=3, confidence=0.95, seed=0, notes=("a note",))


def test_everyone_works_the_same_orders(orders: Orders) -> None:
    assert orders.report.parents == PARENTS
    samples = orders.report.samples
    assert set(samples) == {
        POLICY,
        *execution_baselines(CONFIG, SLICE),
        *volume_baselines(CONFIG, 4),
    }
    # The policy is the passive TWAP under another name: its costs are the same to the bit.
    np.testing.assert_array_equal(
        samples[POLICY]["shortfall_bp"], samples["twap_passive"]["shortfall_bp"]
    )


def test_both_sides_of_a_path_count_as_one(orders: Orders) -> None:
    by_path = orders.by_path(POLICY)
    assert by_path.size == PARENTS // 2
    cost = orders.report.samples[POLICY]["shortfall_bp"]
    np.testing.assert_allclose(by_path, cost.reshape(-1, 2).mean(axis=1))


def test_groups_are_known_at_arrival_and_hold_every_order(orders: Orders) -> None:
    for labels in orders.regimes.values():
        assert labels.shape == (PARENTS,)
        assert len(set(labels.tolist())) == 3


def test_a_prediction_is_kept_with_what_came_of_it() -> None:
    """The target of a step is read at the next call, before the environment moves on."""
    env = _make(4)
    env.reset(seeds=np.arange(4, dtype=np.uint64))
    recorder = Recorder(ScheduleBaseline(CONFIG, risk_averse=False), EXECUTION)
    recorder.watch(env)
    recorder.reset(4)
    came = []
    while not env.terminations.any():
        env.step(recorder.act(env.rows))
        came.append(env.targets[:, 0].copy())
    kept = np.array(recorder.came)[:, :, 0]
    # All but the last step's, after which rows are stale.
    np.testing.assert_array_equal(kept, np.array(came)[: len(kept)])
    assert len(kept) == len(recorder.predicted) == len(came) - 1
    np.testing.assert_array_equal(
        np.array(recorder.predicted)[:, :, 0],
        np.array(recorder.actions)[:, :, decode.PREDICTED_QUALITY],
    )
    assert len(recorder.begins) == 1


def test_a_policy_that_is_the_best_baseline_shows_no_skill(found: Findings) -> None:
    if found.best == "twap_passive":
        assert found.better.probability == 0.0
    assert not found.better.is_evidence
    assert found.verdict.startswith("NO EVIDENCE that the execution policy")
    assert "3 trials" in found.verdict
    assert found.mcs.pvalues[POLICY] == found.mcs.pvalues["twap_passive"]
    assert POLICY in found.mcs.included or "twap_passive" not in found.mcs.included


def test_the_page_tells_of_orders(found: Findings, orders: Orders) -> None:
    steps = np.linspace(1.0, 0.0, 13)
    sample = plots.SampleOrder(
        {POLICY: 100.0 + steps, found.best: 100.0 + steps[:9]},
        {POLICY: steps, found.best: steps[:9]},
        side=-1,
    )
    drawn = plots.plots_of_orders(found, orders, EXECUTION, sample)
    page = report_page(found, drawn, ["told"], {"environment": CONFIG})
    for text in ("a note", "shortfall", "What the shortfall is made of", "one order, selling"):
        assert text in page
    assert page.index(escape(found.verdict)) < page.index("<h2>")
    assert ">nan" not in page


def test_calibration_is_binned_by_what_was_said() -> None:
    said = np.linspace(0.0, 1.0, 1_000)
    points = plots.calibration(said, said**2)
    assert len(points) == 10
    for mean, came, error in points:
        assert came == pytest.approx(mean**2, abs=0.002)
        assert error < 0.02
    assert plots.calibration(said[:20], said[:20]) == []
    assert plots.calibration(np.full(1_000, 0.5), said) == []


def test_too_few_paths_are_told_as_paths(orders: Orders) -> None:
    few = replace(orders, cluster=np.arange(PARENTS) % 15)
    told = {"trials": 1, "confidence": 0.95, "seed": 0, "notes": ()}
    with pytest.raises(DataError, match=r"15 paths were played by 96 parent orders: expected 16"):
        of_orders(few, "execution", **told)


def test_orders_inside_bars_are_grouped_by_year(orders: Orders) -> None:
    days = np.repeat([10_957, 11_400], PARENTS // 2)  # 2000-01-01 and in 2001
    dated = replace(orders, day=days)
    told = {"trials": 1, "confidence": 0.95, "seed": 0, "notes": ()}
    by_day = of_orders(dated, "execution", unit="day", **told)
    years = [group for group in by_day.groups if group.by == "year"]
    assert [(group.label, group.count) for group in years] == [("2000", 48), ("2001", 48)]
    assert not any(g.by == "year" for g in of_orders(dated, "execution", **told).groups)

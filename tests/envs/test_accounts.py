"""Accounts of the layers above execution, recomputed from positions, marks and what fills cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from configs.barwise import AccountConfig
from envs.barwise.batched import BatchedBars
from tests.envs.layers import LAYERS, Layer

pytestmark = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())

ROWS = 16
CENT = 1.0  # money is in ticks x units, and a tick is a cent
_POSITION, _EQUITY, _CASH = "position", "equity", "cash"


def played(layer: Layer, batch: BatchedBars, seed: int) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(accounts before, accounts after, worked, F before and after [N, 2]) of every bar."""
    rng, arrays = np.random.default_rng(seed), batch.arrays
    close = arrays.world.tape.ohlc[:, 3]
    batch.reset()
    while not batch.terminations.all():
        before, bar = arrays.accounts.copy(), arrays.world.places["bar"].copy()
        batch.step(layer.random(rng, batch.num_envs))
        marks = np.stack([close[bar - 1], close[bar]], axis=1)
        yield before, arrays.accounts.copy(), arrays.world.worked.copy(), marks


def test_equity_changes_by_holding_and_trading_less_costs(layer: Layer) -> None:
    """Nothing of the account's own sums is used: positions, marks, and the fills' record."""
    traded = 0
    for before, after, worked, marks in played(layer, layer.batched(ROWS, seed=1), 1):
        signed = worked["side"] * worked["quantity"]
        assert np.array_equal(after[_POSITION], before[_POSITION] + signed)
        holding = before[_POSITION] * (marks[:, 1] - marks[:, 0])
        sent_at = np.divide(
            worked["reference_value"],
            worked["quantity"],
            out=np.zeros(ROWS),
            where=worked["quantity"] > 0,
        )
        trading = signed * (marks[:, 1] - sent_at)
        costs = worked["impact_value"] + worked["slippage"] + worked["fees"]
        change = after[_EQUITY] - before[_EQUITY]
        assert change == pytest.approx(holding + trading - costs, abs=0.5 * CENT)
        whole = after[_CASH] + after[_POSITION] * marks[:, 1]
        assert after[_EQUITY] == pytest.approx(whole, abs=0.5 * CENT)
        traded += int((signed != 0).sum())
    assert traded > ROWS


def test_no_fill_is_had_at_the_close_that_was_seen(layer: Layer) -> None:
    """Orders meet the book of the next bar: a price of its own, and never one for nothing."""
    paid, orders, slipped, crossing = 0.0, 0, 0.0, 0
    for _, _, worked, marks in played(layer, layer.batched(ROWS, seed=2), 2):
        some = worked[worked["quantity"] > 0]
        seen = marks[worked["quantity"] > 0, 0]
        missed = some["side"] * (some["impact_value"] + some["slippage"])
        price = (some["reference_value"] + missed) / some["quantity"]
        assert not (price == seen).any()
        crossed = some["passive"] == 0
        slipped += float(some["slippage"][crossed].sum())
        crossing += int(some["quantity"][crossed].sum())
        paid += float((some["impact_value"] + some["slippage"] + some["fees"]).sum())
        orders += len(some)
    assert orders > ROWS
    assert paid > 0.0
    # What crosses pays half a spread, which is half a tick or more; now and then less, where
    # quotes of two venues are locked.
    assert slipped >= 0.5 * crossing > 0.0


def test_episodes_end_flat_with_all_of_equity_in_cash(layer: Layer) -> None:
    batch = layer.batched(ROWS, seed=3)
    held = 0
    for before, after, _, _ in played(layer, batch, 3):
        held += int((before[_POSITION] != 0).sum())
        last = after
    assert held > ROWS
    assert not last[_POSITION].any()
    assert np.array_equal(last[_EQUITY], last[_CASH])
    at = batch.metric_names.index("return_bp")
    returns = 1e4 * (last[_CASH] / last["initial"] - 1.0)
    assert batch.episode_metrics[:, at] == pytest.approx(returns, abs=1e-6)


def test_a_halted_account_is_flat_from_the_next_bar_on(layer: Layer) -> None:
    """Drawdown is forced by leverage; once halted, nothing but the do-nothing is allowed."""
    strict = AccountConfig(
        leverage=20.0, halve_drawdown=0.001, quarter_drawdown=0.002, halt_drawdown=0.003
    )
    batch = layer.batched(ROWS, seed=4, account=strict)
    halted = np.zeros(ROWS, np.bool_)
    for before, after, worked, _ in played(layer, batch, 4):
        assert not (halted & (before["halted"] == 0)).any()  # what was halted stays so
        over = before["drawdown"] >= strict.halt_drawdown
        assert np.array_equal(over | halted, before["halted"] == 1)
        stopped = before["halted"] == 1
        assert not after[_POSITION][stopped].any()
        still = stopped & (before[_POSITION] == 0)
        assert not worked["quantity"][still].any()
        assert np.array_equal(after[_EQUITY][still], before[_EQUITY][still])
        halted = stopped
        allowed = layer.allowed(batch.rows)[after["halted"] == 1]
        for index, agent in enumerate(layer.layout.agents):
            if agent.mask:
                assert allowed[:, index, layer.nothing[index]].all()
                assert (allowed[:, index].sum(axis=1) < len(agent.components)).all()
    assert halted.sum() > ROWS // 4


def test_positions_stay_within_what_drawdown_leaves(layer: Layer) -> None:
    strict = AccountConfig(
        leverage=20.0, halve_drawdown=0.001, quarter_drawdown=0.5, halt_drawdown=0.6
    )
    halved = 0
    batch = layer.batched(ROWS, seed=5, account=strict)
    for before, after, _, _ in played(layer, batch, 5):
        allowed = np.where(before["drawdown"] >= strict.halve_drawdown, 0.5, 1.0)
        assert (np.abs(after[_POSITION]) <= np.round(allowed * after["limit"]) + 0.5).all()
        halved += int((allowed < 1.0).sum())
    assert halved > ROWS

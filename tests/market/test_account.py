"""The account of the layers above execution, and their decisions as targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.barwise import AccountConfig
from market.account import ACCOUNT, allowed_share, breakers, open_account, settle
from market.kernels import kernel
from market.targets import (
    BUY,
    HOLD,
    INCREASE,
    REDUCE,
    SELL,
    STRATEGIC_RULES,
    may_choose,
    strategic_target,
)
from market.working import WORKED


@kernel
def _open(accounts: Any, limit: int, leverage: float, mark: float) -> None:
    open_account(accounts[0], limit, leverage, mark)


@kernel
def _settle(accounts: Any, worked: Any, close: float) -> None:
    settle(accounts[0], worked[0], close)


@kernel
def _allowed(accounts: Any, limits: Any) -> float:
    return allowed_share(accounts[0], limits[0])


@kernel
def _target(choices: Any, position: float, rules: Any, allowed: float) -> float:
    return strategic_target(choices, position, rules[0], allowed)


@kernel
def _may(choice: int, position: float, allowed: float) -> bool:
    return may_choose(choice, position, allowed)


def _account(limit: int = 1000, leverage: float = 1.0, mark: float = 10_000.0) -> Any:
    accounts = np.zeros(1, ACCOUNT)
    _open(accounts, limit, leverage, mark)
    return accounts


def _worked(signed: int, price: float, cost: float = 0.0) -> Any:
    worked = np.zeros(1, WORKED)
    worked["side"], worked["quantity"] = np.sign(signed) or 1, abs(signed)
    worked["reference_value"] = price * abs(signed)
    worked["slippage"] = cost
    return worked


def test_a_bar_by_hand() -> None:
    accounts = _account()
    # 100 units bought at 10,010 for 50 in costs, marked at 10,020.
    _settle(accounts, _worked(100, 10_010.0, 50.0), 10_020.0)
    one = accounts[0]
    assert one["position"] == 100 and one["trading"] == 1000.0 and one["holding"] == 0.0
    assert one["equity"] == one["initial"] + 1000.0 - 50.0
    assert one["entry"] == pytest.approx(10_010.5)
    # Held while the price falls by 30, then 150 sold at 9,980 for 10.
    _settle(accounts, _worked(-150, 9_980.0, 10.0), 9_990.0)
    assert one["holding"] == -3000.0
    assert one["trading"] == -150 * 9_990.0 + 150 * 9_980.0
    assert one["equity"] == one["initial"] + 950.0 - 3000.0 - 1500.0 - 10.0
    assert one["position"] == -50


def test_equity_changes_by_what_is_held_traded_and_paid() -> None:
    rng = np.random.default_rng(0)
    accounts = _account()
    for _ in range(500):
        before = float(accounts[0]["equity"])
        signed = int(rng.integers(-300, 300))
        worked = _worked(signed, rng.uniform(9_900, 10_100), rng.uniform(0, 100))
        worked["impact_value"], worked["fees"] = rng.normal(0, 30), rng.normal(0, 5)
        _settle(accounts, worked, float(rng.uniform(9_900, 10_100)))
        one = accounts[0]
        parts = one["holding"] + one["trading"] - one["costs"]
        assert one["equity"] - before == pytest.approx(parts, abs=1e-3)


def test_a_full_position_is_leverage_times_the_equity() -> None:
    accounts = _account(limit=200, leverage=4.0, mark=5_000.0)
    assert accounts[0]["initial"] == 200 * 5_000.0 / 4.0


def test_drawdown_binds_step_by_step_and_a_halt_is_for_good() -> None:
    limits = breakers(AccountConfig())
    for drawdown, share in ((0.0, 1.0), (0.099, 1.0), (0.1, 0.5), (0.15, 0.25), (0.2, 0.0)):
        accounts = _account()
        accounts["drawdown"] = drawdown
        assert _allowed(accounts, limits) == share
    accounts = _account()
    accounts["halted"] = 1
    assert _allowed(accounts, limits) == 0.0


def test_breakers_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="expected rising ones"):
        AccountConfig(halve_drawdown=0.3)


def _decided(choices: list[int], position: float = 0.0, allowed: float = 1.0) -> float:
    rules = np.zeros(1, STRATEGIC_RULES)
    rules["step"], rules["small_step"] = 0.10, 0.05
    return float(_target(np.array(choices, np.float32), position, rules, allowed))


EQUAL, ASIDE = 3, 4


@pytest.mark.parametrize(
    ("choices", "position", "target"),
    [
        ([BUY, BUY, BUY, EQUAL], 0.0, 0.10),
        ([SELL, SELL, SELL, EQUAL], 0.0, -0.10),
        ([BUY, SELL, HOLD, EQUAL], 0.3, 0.3),
        ([BUY, SELL, HOLD, 0], 0.3, 0.3 + 0.1 / 3),  # backing doubles the first one's weight
        ([BUY, SELL, HOLD, 1], 0.3, 0.3 - 0.1 / 3),
        ([BUY, BUY, BUY, ASIDE], 0.3, 0.3),
        ([REDUCE, REDUCE, REDUCE, EQUAL], -0.3, -0.25),
        ([REDUCE, REDUCE, REDUCE, EQUAL], 0.02, 0.0),  # no further than flat
        ([INCREASE, INCREASE, INCREASE, EQUAL], -0.3, -0.35),
        ([INCREASE, INCREASE, INCREASE, EQUAL], 0.0, 0.0),
        ([BUY, BUY, BUY, EQUAL], 0.95, 1.0),
    ],
)
def test_targets_by_hand(choices: list[int], position: float, target: float) -> None:
    assert _decided(choices, position) == pytest.approx(target)


def test_what_is_not_allowed_is_cut() -> None:
    assert _decided([HOLD, HOLD, HOLD, EQUAL], 0.8, allowed=0.5) == 0.5
    assert _decided([SELL, SELL, SELL, EQUAL], 0.8, allowed=0.0) == 0.0


@pytest.mark.parametrize(
    ("position", "allowed", "legal"),
    [
        (0.0, 1.0, {BUY, SELL, HOLD}),
        (0.4, 1.0, {BUY, SELL, HOLD, REDUCE, INCREASE}),
        (-1.0, 1.0, {BUY, SELL, HOLD, REDUCE}),
        (0.4, 0.0, {HOLD}),
    ],
)
def test_which_choices_are_legal(position: float, allowed: float, legal: set[int]) -> None:
    found = {c for c in (BUY, SELL, HOLD, REDUCE, INCREASE) if _may(c, position, allowed)}
    assert found == legal

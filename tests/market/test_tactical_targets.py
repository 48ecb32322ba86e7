"""Tactical choices to target positions: the definition, over every joint choice."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from market.targets import (
    NO_SHARE,
    NO_TILT,
    TACTICAL_RULES,
    gain_in_ranges,
    may_share,
    may_tilt,
    may_work,
    tactical_target,
    tilt_of,
)
from market.working import IMPROVE, JOIN, MARKET, TWAP, WAIT
from signals.tactical import SHARES, STYLES, TILTS

SMALL, LARGE = 0.10, 0.25
TILT = {
    "HOLD": 0.0,
    "BUY_SMALL": SMALL,
    "BUY_LARGE": LARGE,
    "SELL_SMALL": -SMALL,
    "SELL_LARGE": -LARGE,
}


def rules(cap: float = 1.0) -> Any:
    out = np.zeros(1, TACTICAL_RULES)
    out["small"], out["large"], out["kelly_cap"] = SMALL, LARGE, cap
    return out[0]


@pytest.mark.parametrize("strategic", [-1.0, -0.3, 0.0, 0.2, 0.95, 1.0])
@pytest.mark.parametrize("cap", [0.15, 0.6, 1.0])
@pytest.mark.parametrize("allowed", [0.0, 0.25, 1.0])
def test_the_target_is_the_definitions(strategic: float, cap: float, allowed: float) -> None:
    """clip(strategic + tilt, +-cap) x share, within what drawdown leaves."""
    for (tilt, name), share in product(enumerate(TILTS), range(len(SHARES))):
        wanted = np.clip(strategic + TILT[name], -cap, cap) * (share / 4)
        found = tactical_target(tilt, share, strategic, rules(cap), allowed)
        assert found == pytest.approx(np.clip(wanted, -allowed, allowed), abs=1e-15)


def test_tilts_are_mirrored() -> None:
    assert [tilt_of(tilt, SMALL, LARGE) for tilt in range(5)] == [TILT[name] for name in TILTS]
    for name, other in (("BUY_SMALL", "SELL_SMALL"), ("BUY_LARGE", "SELL_LARGE")):
        for share, strategic in product(range(5), (-0.7, 0.0, 0.4)):
            up = tactical_target(TILTS.index(name), share, strategic, rules(), 1.0)
            down = tactical_target(TILTS.index(other), share, -strategic, rules(), 1.0)
            assert up == -down


def test_the_choices_are_named_in_the_order_of_their_numbers() -> None:
    assert TILTS[NO_TILT] == "HOLD" and SHARES[NO_SHARE] == "NONE"
    numbers = {"WAIT": WAIT, "MARKET": MARKET, "JOIN": JOIN, "IMPROVE": IMPROVE, "TWAP": TWAP}
    assert [numbers[name] for name in STYLES] == list(range(len(STYLES)))


@pytest.mark.parametrize(
    ("position", "close", "gain"),
    [(0, 90.0, 0.0), (5, 103.0, 1.5), (5, 96.0, -2.0), (-5, 94.0, 3.0), (-1, 104.0, -2.0)],
)
def test_gains_are_told_in_average_ranges(position: int, close: float, gain: float) -> None:
    assert gain_in_ranges(position, 100.0, close, 2.0) == gain


def test_at_least_one_choice_is_always_allowed() -> None:
    for flag in (False, True):
        assert may_tilt(NO_TILT, flag) and may_share(NO_SHARE, flag)
        assert may_work(MARKET, flag) and may_work(TWAP, flag)
    for choice in range(5):
        assert may_tilt(choice, False) and may_share(choice, False) and may_work(choice, False)
        assert may_tilt(choice, True) == (choice == NO_TILT)
        assert may_share(choice, True) == (choice == NO_SHARE)
    assert not any(may_work(style, True) for style in (WAIT, JOIN, IMPROVE))

"""Book states: what is read, and every way in which one is refused."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.book_state import (
    MAX_PRICE,
    MAX_VOLATILITY_BP,
    MAX_VOLUME,
    MIN_PRICE,
    MIN_VOLATILITY_BP,
    MIN_VOLUME,
    BookState,
    ParentState,
    RecentState,
    parse_book_state,
    read_book_state,
)
from cascade.view import ExecutionView, view_of_book
from configs.errors import RequestError
from configs.execution import ExecutionConfig
from signals.execution import EXECUTION

CONFIG = ExecutionConfig()


def example(**parent: Any) -> dict[str, Any]:
    """A small book around 100.00: two venues, half a parent left."""
    return {
        "venues": {
            "ARCA": {"bids": [[99.99, 300], [99.98, 500]], "asks": [[100.01, 200]]},
            "BATS": {"bids": [[99.98, 100]], "asks": [[100.01, 100], [100.03, 900]]},
        },
        "parent": {
            "side": "BUY",
            "quantity": 1000,
            "filled": 500,
            "arrival": 100.0,
            "average_price": 100.02,
            "horizon_steps": 75,
            "steps_left": 25,
            **parent,
        },
    }


def view(fields: dict[str, Any]) -> ExecutionView:
    return view_of_book(parse_book_state(json.dumps(fields).encode(), "test"), CONFIG)


def column(row: Any, name: str) -> float:
    return float(row[0, [c.name for c in EXECUTION.columns].index(name)])


def test_a_row_says_what_the_book_says() -> None:
    row = view(example()).row()
    assert row.shape == (1, EXECUTION.row_width) and np.isfinite(row).all()
    assert column(row, "remaining_share") == pytest.approx(0.5)
    assert column(row, "time_left") == pytest.approx(25 / 75)
    assert column(row, "spread") == pytest.approx(np.log1p(2.0) / 4)
    # 300 bid at the best, 300 asked at the best over both venues.
    assert column(row, "imbalance_1") == pytest.approx(0.0)
    # Half bought 2 ticks above arrival, the rest marked at the mid: 1 bp of the whole.
    assert column(row, "shortfall") == pytest.approx(1.0 / 10.0, rel=1e-4)


def test_directional_columns_are_signed_by_the_side() -> None:
    upstream = {"strategic": [0.1, 0.2, 0.7], "tactical": [0.6, 0.3, 0.1]}
    buy = view({**example(), "upstream": upstream}).row()
    sell = view({**example(side="SELL"), "upstream": upstream}).row()
    for layer in ("strategic", "tactical"):
        assert column(buy, f"{layer}_with") == column(sell, f"{layer}_against")
    assert column(buy, "strategic_with") == pytest.approx(0.7)
    assert column(buy, "microprice_offset") == -column(sell, "microprice_offset")
    assert column(sell, "shortfall") == pytest.approx(-1.0 / 10.0, rel=1e-4)


def test_the_recent_past_moves_volatility_and_flow() -> None:
    quiet = view({**example(), "recent": {"mids": [100.0] * 50}}).row()
    loud = view({**example(), "recent": {"mids": [100.0, 100.4] * 25}}).row()
    assert column(loud, "volatility") > column(quiet, "volatility")
    bought = {"buy_volumes": [900.0] * 10, "sell_volumes": [0.0] * 10}
    row = view({**example(), "recent": bought}).row()
    assert column(row, "flow_fast") > 0.0 == column(quiet, "flow_fast")


def test_resting_orders_are_counted_and_placed() -> None:
    resting = [
        {"venue": "ARCA", "price": 99.99, "quantity": 100, "ahead": 300},
        {"venue": "BATS", "price": 99.97, "quantity": 50, "steps_ago": 4},
    ]
    seen = view(example(resting=resting))
    row = seen.row()
    assert column(row, "resting_share") == pytest.approx(150 / 500)
    assert column(row, "queue_position") == pytest.approx(300 / 400)
    assert column(row, "resting_at_best") == pytest.approx(100 / 150)
    assert column(row, "stalest") == pytest.approx(2 / 20)
    assert seen.owned[:2, 0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"venues": {"ARKA": {"bids": [[1.0, 1]]}}}, "did you mean 'ARCA'"),
        ({"venues": {"ARCA": {"bids": [[99.995, 1]]}}}, "no multiple of the tick"),
        ({"venues": {"ARCA": {"bids": [[50.0, 1]]}}}, "leave such a level out"),
        ({"venues": {"ARCA": {}}}, "no venue quotes anything"),
        ({"venues": {"ARCA": {"bids": [[99.0, 1], [99.5, 1]]}}}, "must fall in price"),
        ({"venues": {"ARCA": {"asks": [[99.0, 1], [99.0, 1]]}}}, "must rise in price"),
        ({"venues": {"ARCA": {"bids": [[101.0, 1]], "asks": [[100.0, 1]]}}}, "must lie below"),
        ({"venues": {"ARCA": {"bids": [[99.0, 0]]}}}, "greater than 0"),
        ({"venues": {"ARCA": {"bids": [[99.0, 1 << 40]]}}}, "less than or equal"),
        ({"venues": {}}, "at least 1"),
        ({"upstream": {"strategic": [0.5, 0.5, 0.5]}}, "add up to 1.5"),
        ({"recent": {"buy_volumes": [1.0]}}, "one entry per step each"),
        ({"surprise": 1}, "surprise"),
        ({"parent": {"side": "BUY"}}, "quantity"),
    ],
)
def test_a_book_that_does_not_add_up_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        view({**example(), **changed})


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        ({"filled": 1000}, "nothing is left"),
        ({"side": "LONG"}, "'BUY' or 'SELL'"),
        ({"steps_left": 76}, "exceeds the horizon"),
        ({"filled_passive": 501}, "exceeds filled"),
        ({"in_flight": 501}, "more than the 500 that remain"),
        ({"arrival": -1.0}, "arrival: Input should be greater than"),
        ({"resting": [{"venue": "X", "price": 99.99, "quantity": 1}]}, "no venue 'X'"),
    ],
)
def test_a_parent_that_does_not_add_up_is_refused(parent: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        view(example(**parent))


RESTING = {"venue": "ARCA", "price": 99.99, "quantity": 1}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"parent": {"horizon_steps": 10**30}}, "parent.horizon_steps"),
        ({"parent": {"steps_left": 10**30}}, "parent.steps_left"),
        ({"parent": {"arrival": 1e308}}, "parent.arrival"),
        ({"parent": {"arrival": 1e9}}, "parent.arrival"),
        ({"parent": {"arrival": 1e-8}}, "parent.arrival"),
        ({"parent": {"average_price": 1e308}}, "parent.average_price"),
        ({"parent": {"filled": 10**30}}, "parent.filled"),
        ({"parent": {"in_flight": 10**30}}, "parent.in_flight"),
        ({"parent": {"urgency_correction": 1.5}}, "parent.urgency_correction"),
        ({"parent": {"carry": -0.5}}, "parent.carry"),
        ({"parent": {"resting": [{**RESTING, "steps_ago": 10**12}]}}, "parent.resting.0.steps_ago"),
        ({"parent": {"resting": [{**RESTING, "ahead": 10**30}]}}, "parent.resting.0.ahead"),
        ({"parent": {"resting": [{**RESTING, "price": 1e308}]}}, "parent.resting.0.price"),
        ({"recent": {"mids": [100.0, 1e308]}}, "recent.mids.1"),
        ({"recent": {"buy_volumes": [1e308], "sell_volumes": [0]}}, "recent.buy_volumes.0"),
        ({"volatility_bp": 1e300}, "volatility_bp"),
        ({"volatility_bp": 1e-300}, "volatility_bp"),
        ({"step_volume": 1e308}, "step_volume"),
        ({"step_volume": 1e-300}, "step_volume"),
    ],
)
def test_a_number_beyond_any_market_is_one_error_that_names_it(
    changed: dict[str, Any], named: str
) -> None:
    parent = changed.get("parent", {})
    with pytest.raises(RequestError, match=rf"{re.escape(named)}:"):
        view({**example(**parent), **{k: v for k, v in changed.items() if k != "parent"}})


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40)
PLACES = st.sampled_from(
    [
        *(("parent", name) for name in ParentState.model_fields if name not in ("side", "resting")),
        *(("parent", "resting", 0, name) for name in ("price", "quantity", "ahead", "steps_ago")),
        *(("recent", name, 0) for name in RecentState.model_fields),
        *(("upstream", name) for name in ("entanglement", "risk_share")),
        ("venues", "ARCA", "bids", 0, 0),
        ("venues", "ARCA", "bids", 0, 1),
        ("step_volume",),
        ("volatility_bp",),
    ]
)


@given(st.lists(st.tuples(PLACES, NUMBERS | st.floats(1e-9, 1e12)), max_size=3))
def test_any_numbers_are_a_finite_row_or_one_error(
    changes: list[tuple[tuple[Any, ...], float]],
) -> None:
    fields = example(resting=[dict(RESTING)])
    fields["recent"] = {"mids": [100.0], "buy_volumes": [10.0], "sell_volumes": [10.0]}
    fields["upstream"] = {}
    for place, number in changes:
        inner: Any = fields
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = number
    try:
        seen = view(fields)
    except RequestError:
        return
    assert np.isfinite(seen.row()).all()


@pytest.mark.parametrize(
    "extremes",
    [
        {"volatility_bp": high, "step_volume": low, "recent": {"mids": [mid, 100.0, mid]}}
        for high in (MIN_VOLATILITY_BP, MAX_VOLATILITY_BP)
        for low in (MIN_VOLUME, MAX_VOLUME)
        for mid in (MIN_PRICE, MAX_PRICE)
    ],
)
def test_the_bounds_themselves_give_finite_rows(extremes: dict[str, Any]) -> None:
    parent = {"average_price": MAX_PRICE, "horizon_steps": 1000, "steps_left": 1000}
    assert np.isfinite(view({**example(**parent), **extremes}).row()).all()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"nul",
        b"\xff\xfe",
        b'{"parent": NaN}',
        b'{"venues": 1e999}',
        b"[" * 100_000,
        b'{"parent": 1, "parent": 2}',
    ],
)
def test_text_that_is_no_book_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError, match="book state test"):
        parse_book_state(raw, "test")


@given(
    st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789eE.-+venusparnt').map(str.encode)
)
def test_any_bytes_are_a_book_or_one_error(raw: bytes) -> None:
    try:
        assert isinstance(parse_book_state(raw, "fuzz"), BookState)
    except RequestError as error:
        assert "fuzz" in str(error)


def test_files_and_standard_input_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(example())
    (tmp_path / "book.json").write_text(text)
    state = read_book_state(tmp_path / "book.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert read_book_state("-") == state
    with pytest.raises(RequestError, match="cannot be read"):
        read_book_state(tmp_path / "absent.json")
    with pytest.raises(RequestError, match="cannot be read"):
        read_book_state(tmp_path)
    (tmp_path / "huge.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(RequestError, match="larger than"):
        read_book_state(tmp_path / "huge.json")


def test_without_any_volatility_the_market_of_bars_asks_for_one() -> None:
    bars = {"kind": "bars", "bars": {"path": "absent.csv", "tick": 0.01, "bar_minutes": 30}}
    config = ExecutionConfig.model_validate({"market": {"reference": bars}})
    with pytest.raises(RequestError, match="give volatility_bp"):
        view_of_book(BookState.model_validate(example()), config)
    known = BookState.model_validate({**example(), "volatility_bp": 2.0})
    assert view_of_book(known, config).episode["variance_slow"][0] == pytest.approx(4.0)

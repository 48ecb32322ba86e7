"""Kelly bounds what is ordered by what scores have been worth, and says how urgent it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cascade.events import Event
from cascade.models import load_model
from cascade.sizing import Market, Sizer
from configs.cascade import CascadeConfig
from configs.errors import ArtefactError
from configs.orders import OrdersConfig, SizingConfig
from market.account import ACCOUNT
from signals.expected_return import RETURN_MAP_FILE, ReturnMap
from tests.cascade.layers import layer_artefact
from tests.cascade.test_engine import MINUTES, Run

TICK, PRICE, LIMIT, VOLUME = 0.25, 100.0, 1_000, 5_000.0
WORTH = ReturnMap(np.array([-0.5, 0.5]), np.array([-0.002, 0.002]), 0.01, 1, 500)
NOTHING = ReturnMap(np.array([-1.0, 1.0]), np.array([0.0, 0.0]), 0.01, 1, 500)


def account(position: int = 0, equity: float = 100_000.0) -> NDArray[Any]:
    found = np.zeros(1, ACCOUNT)
    found["position"], found["limit"] = position, LIMIT
    found["equity"], found["mark"] = equity / TICK, PRICE / TICK
    return found


def sized(target: float, score: float, position: int = 0, **told: Any) -> float:
    config = OrdersConfig(sizing=SizingConfig(**told))
    market = Market(TICK, VOLUME)
    return Sizer(config).sized(target, score, WORTH, account(position), market).target


def test_kellys_holding_is_the_bound_by_brute_force() -> None:
    """Equity of 1,000 units at 100: a share of the limit is a share of equity."""
    score, sigma = 0.25, WORTH.sigma
    mean = 0.001  # half way up the map
    impact = sigma * np.sqrt(100_000.0 / (PRICE * VOLUME))
    best = minimize_scalar(
        lambda f: -(mean * f - sigma**2 * f * f - impact * abs(f) ** 1.5),
        bounds=(0.0, 1.0),
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    assert 0.01 < best < 0.15
    assert sized(1.0, score, cap=1.0, participation=1.0) == pytest.approx(best, abs=1e-6)
    assert sized(best / 2, score, cap=1.0, participation=1.0) == pytest.approx(best / 2)


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.integers(-LIMIT, LIMIT), st.floats(0.01, 1.0))
def test_a_bound_is_never_a_wish(target: float, score: float, position: int, cap: float) -> None:
    found = sized(target, score, position, cap=cap)
    assert found * target >= 0.0
    assert abs(found) <= abs(target) + 1e-12


def test_no_side_is_taken_against_what_the_score_was_worth() -> None:
    assert sized(0.8, -0.3) == 0.0
    assert sized(-0.8, 0.3) == 0.0
    assert sized(-0.8, -0.3) < 0.0
    broke = Sizer(OrdersConfig()).sized(0.5, 0.5, WORTH, account(equity=-1.0), Market(TICK, VOLUME))
    assert broke.target == 0.0


@pytest.mark.parametrize(
    ("confidence", "annual", "spread", "entangled", "urgency", "kind"),
    [
        (1.0, 0.35, 2.0, 0.0, 0.9 * 1.5, "MARKET"),
        (0.8, 0.15, 2.0, 0.0, 0.2 + 0.7 * 0.7, "LIMIT"),
        (0.8, 0.05, 25.0, 0.0, 0.69 * 0.8 * 0.7, "VWAP"),
        (0.7, 0.15, 15.0, 0.6, (0.2 + 0.7 * 0.55) * 0.9 * 1.1, "TWAP"),
    ],
)
def test_urgency_by_hand(
    confidence: float, annual: float, spread: float, entangled: float, urgency: float, kind: str
) -> None:
    found = Sizer(OrdersConfig()).urgency(confidence, annual, spread, entangled)
    assert found == {"urgency": pytest.approx(urgency), "kind": kind}


class Sizing(Run):
    """A session whose tactical artefact tells what its scores were worth."""

    def __init__(self, folder: Path, returns: ReturnMap, config: CascadeConfig | None = None):
        super().__init__(folder, config=config)
        sized = layer_artefact(folder / "sized", "tactical", 1, returns)
        self.engine.take_model(load_model("tactical", sized))


def test_a_map_of_nothing_orders_nothing_and_replays(tmp_path: Path) -> None:
    run = Sizing(tmp_path, NOTHING)
    while run.session.bar + 1 < len(run.session.bars):
        run.session.play_bar(10_000)
    assert run.session.trades == 0
    run.ended()
    told = run.told(Event.KELLY_SIZING)
    assert len(told) > 50
    assert {found["target"] for found in told} == {0.0}
    assert any(found["asked"] != 0.0 for found in told)


def test_a_target_is_cut_to_what_it_is_worth_and_replays(tmp_path: Path) -> None:
    steep = ReturnMap(np.array([-1.0, 1.0]), np.array([-0.05, 0.05]), 0.02, 1, 500)
    run = Sizing(tmp_path, steep)
    for _ in range(400):
        run.session.play_bar(10_000)
    assert run.session.trades > 0
    run.ended()
    cuts = [t for t in run.told(Event.KELLY_SIZING) if 0.0 < abs(t["target"]) < abs(t["asked"])]
    assert cuts
    cap = CascadeConfig().orders.sizing.cap
    assert all(abs(found["holding"]) <= cap + 1e-12 for found in cuts)
    first = run.told(Event.TRADE_QUALIFIED)[0]
    assert first["kind"] in ("MARKET", "LIMIT", "TWAP", "VWAP")
    assert 0.0 < first["urgency"] < 3.0


def test_without_a_map_or_where_kelly_is_off_targets_stay(tmp_path: Path) -> None:
    plain = Run(tmp_path / "plain")
    off = Sizing(tmp_path / "off", NOTHING, CascadeConfig(kelly=False))
    for run in (plain, off):
        for _ in range(200):
            run.session.play_bar(10_000)
        run.ended()
        assert run.session.trades > 0
        assert run.events()[Event.KELLY_SIZING] == 0
    assert plain.session.trades == off.session.trades


def test_the_horizon_of_a_strategic_map_counts_its_own_bars(tmp_path: Path) -> None:
    run = Run(tmp_path, "strategic", "tactical", "execution")
    returns = ReturnMap(WORTH.scores, WORTH.returns, WORTH.sigma, 2, 500)
    run.engine.take_model(
        load_model("strategic", layer_artefact(tmp_path / "sized", "strategic", 1, returns))
    )
    worth = run.engine.upper.worth
    assert worth is not None
    score, found, bars = worth
    assert score == 0.0  # nothing said so far: it holds
    assert found.horizon_bars == 2
    assert bars == 2 * 30.0 / MINUTES


def test_a_map_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = layer_artefact(tmp_path / "sized", "tactical", 1, WORTH)
    path = folder / RETURN_MAP_FILE
    fields = json.loads(path.read_text())
    fields["returns"] = fields["returns"][::-1]
    path.write_text(json.dumps(fields))
    with pytest.raises(ArtefactError, match="return_map"):
        load_model("tactical", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][RETURN_MAP_FILE] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="returns must not fall"):
        load_model("tactical", folder)

"""Markets that play bar after bar, and orders worked inside one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.barwise import BarwiseConfig
from configs.errors import DataError, SimulatorError
from market.bar_tape import BarTape, bar_tape
from market.barwise import Barwise, allocate_barwise, begin_episode, play_bar, usual_bar_volume
from market.restore import market_arrays
from market.state import STATE_FIELDS
from market.synthetic import synthetic_bars
from market.working import IMPROVE, JOIN, MARKET, TWAP, WAIT
from tests.market.barwise import FIRST, MINUTES, PAST, begun, small_config, small_tape

STYLES = (MARKET, JOIN, IMPROVE, TWAP)


def _share(world: Barwise, share: float) -> int:
    return round(share * usual_bar_volume(world))


def _state(world: Barwise, n: int) -> dict[str, NDArray[np.generic]]:
    arrays = market_arrays(world.market, STATE_FIELDS)
    # Trades on the tape name their book by its place in the batch.
    left_out = ("books", "tape")
    return {
        name: np.array(array[n]) for name, array in arrays.items() if not name.startswith(left_out)
    }


@pytest.mark.parametrize("style", STYLES)
def test_an_order_fills_whole_inside_its_bar(style: int) -> None:
    config, tape = small_config(), small_tape()
    world = begun(config, tape, [3])
    for signed in (_share(world, 0.02), -_share(world, 0.05), 1, -7):
        play_bar(world, 0, signed, style)
        worked, parent = world.worked[0], world.market.parents[0]
        assert worked["quantity"] == abs(signed) and worked["side"] == np.sign(signed)
        assert parent["remaining"] == 0 and parent["resting_orders"] == 0
        assert parent["filled_passive"] + parent["filled_aggressive"] == abs(signed)
        if style in (MARKET, TWAP):
            assert worked["passive"] == 0
        else:
            assert worked["passive"] + worked["forced"] == abs(signed)


def test_nothing_is_ordered_where_an_agent_waits() -> None:
    world = begun(small_config(), small_tape(), [3])
    play_bar(world, 0, 500, WAIT)
    worked = world.worked[0]
    assert worked["quantity"] == 0 and worked["fees"] == 0.0 and worked["impact_value"] == 0.0
    assert worked["volume"] > 0.0


def test_average_price_of_others_lies_inside_the_bar() -> None:
    tape = small_tape()
    world = begun(small_config(), tape, [5])
    for bar in range(FIRST, FIRST + 40):
        play_bar(world, 0, 0, WAIT)
        average = world.worked[0]["volume_value"] / world.worked[0]["volume"]
        assert tape.tape.ohlc[bar, 2] <= average <= tape.tape.ohlc[bar, 1]


def test_crossing_costs_and_more_of_it_costs_more() -> None:
    tape = small_tape()
    costs = {}
    for share in (0.005, 0.05):
        world = begun(small_config(), tape, list(range(24)))
        quantity = _share(world, share)
        total = 0.0
        for n in range(24):
            play_bar(world, n, quantity if n % 2 else -quantity, MARKET)
            worked = world.worked[n]
            total += (worked["slippage"] + worked["impact_value"] + worked["fees"]) / quantity
        costs[share] = total / 24
    assert 0.0 < costs[0.005] < costs[0.05]


def test_own_impact_passes_from_bar_to_bar_and_fades() -> None:
    world = begun(small_config(), small_tape(), [9])
    play_bar(world, 0, _share(world, 0.05), MARKET)
    after = [float(world.market.episodes[0]["impact"])]
    for _ in range(6):
        play_bar(world, 0, 0, WAIT)
        after.append(float(world.market.episodes[0]["impact"] / world.market.episodes[0]["sigma"]))
    assert after[0] > 0.0
    assert all(value > 0.0 for value in after)
    assert after[-1] < after[1]


def test_a_market_alone_and_in_a_batch_are_the_same_to_the_bit() -> None:
    config, tape = small_config(), small_tape()
    batch, alone = begun(config, tape, [4, 11, 25]), begun(config, tape, [11])
    for signed in (300, -500, 0, 120):
        for n in (2, 1, 0):
            play_bar(batch, n, signed, TWAP)
        play_bar(alone, 0, signed, TWAP)
        for name, value in _state(alone, 0).items():
            assert (value == _state(batch, 1)[name]).all(), name
        assert batch.worked[1] == alone.worked[0]


def test_what_an_agent_orders_moves_no_draw() -> None:
    config, tape = small_config(), small_tape()
    quiet, busy = begun(config, tape, [8]), begun(config, tape, [8])
    for _ in range(5):
        play_bar(quiet, 0, 0, WAIT)
        play_bar(busy, 0, _share(busy, 0.05), MARKET)
        for name in ("arrivals", "candidates", "next_arrival", "intensity", "rate", "base"):
            assert quiet.market.episodes[0][name] == busy.market.episodes[0][name], name
        assert (quiet.market.knots[0] == busy.market.knots[0]).all()


def test_a_bars_path_ends_at_its_close_and_touches_its_extremes() -> None:
    tape = small_tape()
    world = begun(small_config(), tape, [2])
    for bar in range(FIRST, FIRST + 20):
        play_bar(world, 0, 0, WAIT)
        path = world.market.path[0] + world.market.episodes[0]["base"]
        open_, high, low, close = tape.tape.ohlc[bar]
        assert path[0] == pytest.approx(open_) and path[-1] == pytest.approx(close)
        assert path.max() == pytest.approx(high) and path.min() == pytest.approx(low)


def test_the_ladder_follows_the_price() -> None:
    tape = small_tape()
    tape.tape.ohlc[FIRST + 3 :] += 5000.0
    world = begun(small_config(), tape, [2])
    for _ in range(6):
        play_bar(world, 0, 400, TWAP)
        assert world.market.parents[0]["remaining"] == 0
        worked, place = world.worked[0], world.places[0]
        price = worked["reference_value"] / worked["quantity"]
        low, high = tape.tape.ohlc[place["bar"] - 1, 2], tape.tape.ohlc[place["bar"] - 1, 1]
        assert low <= price <= high


def test_a_gap_lets_impact_fade_for_its_length() -> None:
    def left(gap: float) -> float:
        tape = small_tape()
        tape.tape.gap[FIRST + 1] = gap
        world = begun(small_config(), tape, [6])
        play_bar(world, 0, _share(world, 0.1), MARKET)
        play_bar(world, 0, 0, WAIT)
        return float(world.market.imbalances[0].sum())

    day = 86_400.0
    assert 0.0 < left(day) < 0.7 * left(0.0)


Script = Callable[[int, BarTape, np.random.Generator], int]
SCRIPTS: dict[str, Script] = {
    # Each gives the sign of the order for bar number `bar`.
    "there and back": lambda bar, tape, rng: 1 if bar % 2 else -1,
    "pump and dump": lambda bar, tape, rng: 1 if bar % 8 < 4 else -1,
    "after the last move": lambda bar, tape, rng: int(
        np.sign(tape.tape.ohlc[bar - 1, 3] - tape.tape.ohlc[bar - 1, 0])
    ),
    "at random": lambda bar, tape, rng: int(rng.choice([-1, 1])),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_earns_by_how_it_trades(name: str, style: int) -> None:
    """What trading earns on a path nobody can foresee, over both directions of each path."""
    tape = small_tape(3000)
    share, bars, gains = 0.02, 2800, []
    # The path's own luck goes where the same script also plays the price upside down.
    for mirrored in (False, True):
        played = tape
        if mirrored:
            turned = 20_000.0 - tape.tape.ohlc[:, [0, 2, 1, 3]]
            played = BarTape(tape.tape._replace(ohlc=turned), tape.bar_seconds, tape.tick)
        world = begun(small_config(), played, [77])
        quantity, rng = _share(world, share), np.random.default_rng(0)
        for bar in range(FIRST, FIRST + bars):
            sign = SCRIPTS[name](bar, played, rng)
            play_bar(world, 0, sign * quantity, style)
            if sign == 0:
                continue
            worked = world.worked[0]
            move = worked["side"] * (
                quantity * played.tape.ohlc[bar, 3] - worked["reference_value"]
            )
            costs = worked["slippage"] + worked["impact_value"] + worked["fees"]
            gains.append((move - costs) / quantity / played.tape.ohlc[bar, 3] * 1e4)
    mean, error = np.mean(gains), np.std(gains) / np.sqrt(len(gains))
    assert mean < 3.0 * error, f"{mean:.3f} +- {error:.3f} bp a trade"
    if style in (MARKET, TWAP):
        assert mean < -3.0 * error, f"{mean:.3f} +- {error:.3f} bp a trade"


def test_bars_beyond_any_ladder_are_refused() -> None:
    tape = small_tape()
    tape.tape.ohlc[70, 1] += 100_000.0
    with pytest.raises(DataError, match=r"bar 70 moves 100,.* set a coarser market\.tick"):
        allocate_barwise(small_config(), tape, 1)


def test_fewer_bars_than_a_past_are_refused() -> None:
    bars = synthetic_bars(small_config().market.reference, 40, MINUTES, 0.01, 0)
    with pytest.raises(DataError, match="40 bars, expected more than the 46"):
        bar_tape(bars, MINUTES, 0.01, PAST)


def test_no_market_is_refused() -> None:
    with pytest.raises(SimulatorError, match="num=0: expected at least one"):
        allocate_barwise(small_config(), small_tape(), 0)


def test_a_reaction_longer_than_a_slice_is_refused() -> None:
    with pytest.raises(
        ValueError, match="reaction_seconds is 40, expected less than a slice of 30"
    ):
        BarwiseConfig(bar_minutes=5, slices=10, reaction_seconds=40.0)


def test_episodes_of_one_seed_differ() -> None:
    config, tape = small_config(), small_tape()
    world = begun(config, tape, [5, 5])
    begin_episode(world, 1, np.uint64(5), 1, FIRST)
    for n in range(2):
        play_bar(world, n, 200, TWAP)
    assert world.worked[0]["slippage"] != world.worked[1]["slippage"]

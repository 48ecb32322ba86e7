"""Live rows are the table's rows to the bit, also after a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from configs.errors import ConfigError, DataError, SimulatorError
from configs.signals import SignalsConfig
from signals.bars.matrices import FeatureTable, regime_table, strategic_table, tactical_table
from signals.bars.streams import Bar, RegimeStream, StrategicStream, Stream, TacticalStream
from signals.regime import regime_filter
from tests.signals.bars.series import MINUTES, SHORT, TICK, each, walk
from tests.signals.bars.test_matrices import model

HOLE = 250
BARS = walk(420, seed=11, hole=HOLE)

Pair = tuple[Callable[[SignalsConfig], Stream], Callable[[SignalsConfig], FeatureTable]]
PAIRS: dict[str, Pair] = {
    "strategic": (
        lambda config: StrategicStream(MINUTES, TICK, config),
        lambda config: strategic_table(BARS, MINUTES, TICK, config),
    ),
    "tactical": (
        lambda config: TacticalStream(MINUTES, TICK, config),
        lambda config: tactical_table(BARS, MINUTES, TICK, config),
    ),
    "regime": (
        lambda config: RegimeStream(MINUTES, TICK, model(), config),
        lambda config: regime_table(BARS, MINUTES, TICK, model(), config),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_stream_gives_the_rows_of_the_table(name: str) -> None:
    stream, table = (make(SHORT) for make in PAIRS[name])
    assert stream.columns == table.columns
    for t, bar in enumerate(each(BARS)):
        row = stream.update(bar)
        assert row.dtype == np.float32
        np.testing.assert_array_equal(row, table.values[t])
        assert stream.warm == table.warm[t]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("cut", [0, 1, 200, HOLE, 300])
def test_a_stream_goes_on_from_a_checkpoint(name: str, cut: int) -> None:
    make = PAIRS[name][0]
    first, bars = make(SHORT), each(BARS)
    for bar in bars[:cut]:
        first.update(bar)
    saved = first.state_dict()
    rest = [first.update(bar) for bar in bars[cut:]]
    second = make(SHORT)
    second.update(bars[0])
    second.load_state(saved)
    for bar, row in zip(bars[cut:], rest, strict=True):
        np.testing.assert_array_equal(second.update(bar), row)
    assert second.warm == first.warm


def test_a_foreign_state_is_refused_whole() -> None:
    stream, other = (PAIRS["strategic"][0](config) for config in (SHORT, SignalsConfig()))
    for bar in each(BARS)[:30]:
        stream.update(bar)
    before = stream.state_dict()
    with pytest.raises(
        SimulatorError, match=r"raw.* expected float64 \[4, 104\]; load it with the config"
    ):
        stream.load_state(other.state_dict())
    with pytest.raises(SimulatorError, match="is not in the"):
        stream.load_state(PAIRS["tactical"][0](SHORT).state_dict())
    for name, array in stream.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_regime_stream_tells_regime_and_alarm() -> None:
    stream = RegimeStream(MINUTES, TICK, model(), SHORT)
    reading = regime_filter(model(), BARS, MINUTES, SHORT)
    for t, bar in enumerate(each(BARS)):
        stream.update(bar)
        assert (stream.regime, stream.alarm) == (reading.regime[t], reading.alarm[t])
        np.testing.assert_equal(stream.confidence, reading.confidence[t])
    assert reading.alarm.any()


GOOD = Bar(1_600_000_200_000_000_000, 100.0, 101.0, 99.0, 100.5, 10.0)


@pytest.mark.parametrize(
    ("bar", "told"),
    [
        (GOOD._replace(close=float("nan")), "finite prices above 0"),
        (GOOD._replace(low=0.0), "finite prices above 0"),
        (GOOD._replace(volume=-1.0), "a finite volume"),
        (GOOD._replace(close=102.0), "low <= open, close <= high"),
        (GOOD._replace(open=98.0), "low <= open, close <= high"),
        (GOOD, "starts 0 minutes after the one before it"),
    ],
)
def test_a_bar_that_is_none_changes_nothing(bar: Bar, told: str) -> None:
    stream = TacticalStream(MINUTES, TICK)
    stream.update(GOOD)
    before = stream.state_dict()
    with pytest.raises(DataError, match=told):
        stream.update(bar)
    for name, array in stream.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_streams_check_what_they_are_given() -> None:
    with pytest.raises(ConfigError, match="bar_minutes=-5"):
        TacticalStream(-5, TICK)
    with pytest.raises(ConfigError, match="tick=nan"):
        StrategicStream(MINUTES, float("nan"))
    with pytest.raises(ConfigError, match="30-minute bars on 5-minute bars"):
        RegimeStream(5, TICK, model())

"""Augmented training bars: pasts of their own, for the training split alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from envs.barwise.data import slow_data
from envs.barwise.fast import fast_data
from envs.strategic import make_batched as make_strategic
from envs.tactical import make_batched as make_tactical
from tests.envs.layers import LAYERS, SMALL

COPIES = 2
TABLES: dict[str, tuple[Callable[..., Any], type, str]] = {
    "strategic": (slow_data, StrategicConfig, "strategic"),
    "tactical": (fast_data, TacticalConfig, "tactical"),
}
of_every_layer = pytest.mark.parametrize("layer", TABLES)


def data(layer: str, split: str = "train", **told: Any) -> Any:
    make, kind, _ = TABLES[layer]
    return make(load_config(kind, {**SMALL, "augmentation": told}), split)


@of_every_layer
def test_the_bars_themselves_are_what_they_are_without_copies(layer: str) -> None:
    plain, more = data(layer), data(layer, copies=COPIES)
    name = TABLES[layer][2]
    count = len(plain.tape)
    assert len(more.tape) == count + COPIES * len(plain.rows)
    assert np.array_equal(more.tape.tape.ohlc[:count], plain.tape.tape.ohlc)
    before, after = getattr(plain, name).values, getattr(more, name).values[:count]
    assert np.array_equal(before, after, equal_nan=True)
    assert np.array_equal(more.starts[: len(plain.starts)], plain.starts)
    assert more.rows == plain.rows


@of_every_layer
def test_episodes_begin_in_every_copy_and_cross_no_border(layer: str) -> None:
    plain, more = data(layer), data(layer, copies=COPIES)
    count, length, horizon = len(plain.tape), len(plain.rows), SMALL["horizon_bars"]
    added = more.starts[len(plain.starts) :]
    assert (added >= count).all()
    copy, place = np.divmod(added - count, length)
    assert set(copy) == set(range(COPIES))
    assert (place + horizon < length).all()
    # Windows look back into the copy alone: they are whole later than at its first bars.
    first = [place[copy == number].min() for number in range(COPIES)]
    assert min(first) >= plain.starts.min() - plain.rows.first
    gap = more.tape.tape.gap[[count + number * length for number in range(COPIES)]]
    assert (gap > 96 * 3600).all()


@of_every_layer
def test_copies_differ_from_the_bars_and_from_each_other(layer: str) -> None:
    plain, more = data(layer), data(layer, copies=COPIES)
    count, length = len(plain.tape), len(plain.rows)
    again = data(layer, copies=COPIES, seed=1)

    def moves(found: Any, first: int) -> Any:
        ohlc = found.tape.tape.ohlc[first : first + length]
        return np.diff(np.log(ohlc[:, 3]))

    series = [moves(plain, plain.rows.first), moves(more, count), moves(more, count + length)]
    series.append(moves(again, count))
    for index, one in enumerate(series):
        for other in series[:index]:
            # Some blocks lie where they came from: few days have bars of that time of day.
            assert np.abs(np.corrcoef(one, other)[0, 1]) < 0.5


@of_every_layer
@pytest.mark.parametrize("split", ["validation", "test"])
def test_only_training_meets_copies(layer: str, split: str) -> None:
    plain, more = data(layer, split), data(layer, split, copies=COPIES)
    assert len(more.tape) == len(plain.tape)
    assert np.array_equal(more.starts, plain.starts)


@of_every_layer
def test_episodes_are_played_on_copies(layer: str) -> None:
    make = {"strategic": make_strategic, "tactical": make_tactical}[layer]
    config = load_config(TABLES[layer][1], {**SMALL, "augmentation": {"copies": COPIES}})
    env, rng = make(16, 3, config), np.random.default_rng(0)
    env.reset()
    bars = env.arrays.world.places["bar"]
    assert (bars > len(data(layer).tape)).any() and (bars < len(data(layer).tape)).any()
    while not env.terminations.all():
        env.step(LAYERS[layer].random(rng, 16))
        assert np.isfinite(env.states).all() and np.isfinite(env.rewards).all()


def test_copies_and_an_artefact_above_exclude_each_other() -> None:
    told = {"augmentation": {"copies": 1}, "upstream": {"strategic": "somewhere"}}
    with pytest.raises(ConfigError, match=r"copies is 1 .*somewhere.*expected copies 0"):
        load_config(TacticalConfig, told)

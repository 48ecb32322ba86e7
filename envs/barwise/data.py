"""The bars that an environment's episodes are cut from, with what agents read of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.errors import DataError
from configs.market import BarReference
from configs.splits import Split
from market.bar_tape import BarTape, bar_tape
from market.bars import Bars, load_bars
from market.splits import SplitRange, split_range
from market.synthetic import synthetic_bars
from signals.bars.matrices import (
    REGIME_ROWS,
    STRATEGIC_ROWS,
    FeatureTable,
    regime_table,
    slow_features,
    strategic_table,
)
from signals.regime import RegimeModel
from signals.regime_fit import fit_regimes

_PRICES = ("open", "high", "low", "close", "volume", "start")


@dataclass(frozen=True)
class SlowData:
    """Bars of one split, and the tables of the slow matrices over all bars.

    Attributes:
        tape: of all bars.
        strategic, regimes: rows of the two matrices, one a bar.
        starts: int64 [m], bars at whose close an episode may begin: windows are whole there
            and at every bar that it plays, and all of them lie in the split.
        fingerprint: of the bars.
        model: of the regimes, fitted on the training split.
    """

    tape: BarTape
    strategic: FeatureTable
    regimes: FeatureTable
    starts: NDArray[np.int64]
    fingerprint: str
    model: RegimeModel


def bars_of_layer(config: LayerConfig) -> Bars:
    """The file's bars, or those of the built-in market.

    Raises:
        DataError: see `load_bars`; or the file's bars are of another length.
    """
    reference = config.market.reference
    if not isinstance(reference, BarReference):
        series = config.series
        return synthetic_bars(
            reference,
            series.bars,
            config.bar_minutes,
            config.market.tick,
            series.seed,
            config.market.flow,
        )
    if reference.bars.bar_minutes != config.bar_minutes:
        raise DataError(
            f"{reference.bars.path}: bars of {reference.bars.bar_minutes} min, but the layer "
            f"decides every {config.bar_minutes:g}; set bar_minutes to the file's"
        )
    return load_bars(reference.bars)


def slow_data(config: LayerConfig, split: Split) -> SlowData:
    """The data of one split; computed once for a configuration and kept.

    Raises:
        DataError: the split holds no episode.
    """
    tables = _tables(Keyed(data_key(config), config))
    return replace(tables, starts=_starts(tables, config, split))


def data_key(config: LayerConfig) -> str:
    """What tables of bars depend on: a change of rewards or accounts computes nothing anew."""
    told = config.model_dump(mode="json")
    parts = {name: told[name] for name in ("bar_minutes", "signals", "series", "past_bars")}
    parts |= {"tick": told["market"]["tick"], "reference": told["market"]["reference"]}
    parts |= {"sizes": told["market"]["flow"]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Keyed:
    """A configuration that is told apart by its key alone."""

    key: str
    config: LayerConfig

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and other.key == self.key


@lru_cache(maxsize=4)
def _tables(keyed: Keyed) -> SlowData:
    config = keyed.config
    bars = bars_of_layer(config)
    minutes, tick = int(config.bar_minutes), config.market.tick
    tape = bar_tape(bars, config.bar_minutes, tick, config.past_bars)
    features = slow_features(bars, minutes, tick, config.signals)
    train = _range(bars.start, config, "train", bars.source)
    model = fit_regimes(_part(bars, train), minutes, config.signals)
    return SlowData(
        tape,
        strategic_table(bars, minutes, tick, config.signals, features),
        regime_table(bars, minutes, tick, model, config.signals, features),
        bars.start,
        bars.fingerprint,
        model,
    )


def _part(bars: Bars, rows: SplitRange) -> Bars:
    cut: dict[str, Any] = {name: getattr(bars, name)[rows.rows] for name in _PRICES}
    return replace(bars, **cut)


def _range(start: NDArray[np.int64], config: LayerConfig, split: Split, source: str) -> Any:
    least = config.horizon_bars + 1
    return split_range(split, len(start), start, config.splits, least=least, source=source)


def _starts(tables: SlowData, config: LayerConfig, split: Split) -> NDArray[np.int64]:
    """See `SlowData.starts`; `tables.starts` are the stamps of all bars here."""
    rows = _range(tables.starts, config, split, "bars")
    whole = tables.strategic.usable(STRATEGIC_ROWS) & tables.regimes.usable(REGIME_ROWS)
    return starts_among(whole, rows.first, rows.after, config.horizon_bars, str(rows))


def starts_among(
    whole: NDArray[np.bool_], first: int, after: int, horizon: int, split: str
) -> NDArray[np.int64]:
    """Bars from `first` to before `after` at whose close an episode of `horizon` may begin.

    Args:
        whole: bool [n], bars at which windows are whole.

    Raises:
        DataError: there is none; `split` says where, for the message.
    """
    # Decisions are taken at the closes of `horizon` bars in a row; the last plays one more.
    broken = np.concatenate([[0], np.cumsum(~whole)])
    starts = np.arange(first, after - horizon)
    found = starts[broken[starts + horizon] == broken[starts]]
    if not found.size:
        raise DataError(
            f"the split ({split}) holds no run of {horizon} bars with whole windows behind them; "
            "give more bars, or fewer by horizon_bars"
        )
    return np.asarray(found, np.int64)

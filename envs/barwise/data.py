"""The bars that an environment's episodes are cut from, with what agents read of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.errors import DataError
from configs.market import BarReference, GeneratorReference
from configs.splits import Split
from envs.barwise.copies import with_copies
from market.bar_tape import BarTape, bar_tape
from market.bars import Bars, load_bars
from market.kept import kept, key_of
from market.splits import SplitRange, hull, split_ranges
from market.synthetic import SyntheticSeries, synthetic_series
from signals.bars.matrices import (
    REGIME_COLUMNS,
    REGIME_ROWS,
    STRATEGIC_COLUMNS,
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
        rows: the bars of the split, from its first to its last.
    """

    tape: BarTape
    strategic: FeatureTable
    regimes: FeatureTable
    starts: NDArray[np.int64]
    fingerprint: str
    model: RegimeModel
    rows: SplitRange

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Bool [n]: bars at whose close both windows are whole."""
        return self.strategic.usable(STRATEGIC_ROWS) & self.regimes.usable(REGIME_ROWS)


def bars_of_layer(config: LayerConfig) -> Bars:
    """The file's bars, or those of the built-in market.

    Raises:
        DataError: see `load_bars`; or the file's bars are of another length.
    """
    reference = config.market.reference
    if not isinstance(reference, BarReference):
        return built_in(config, reference).bars
    if reference.bars.bar_minutes != config.bar_minutes:
        raise DataError(
            f"{reference.bars.path}: bars of {reference.bars.bar_minutes} min, but the layer "
            f"decides every {config.bar_minutes:g}; set bar_minutes to the file's"
        )
    return load_bars(reference.bars)


def built_in(config: LayerConfig, reference: GeneratorReference) -> SyntheticSeries:
    """The layer's bars of the built-in market."""
    series = config.series
    return synthetic_series(
        reference,
        series.bars,
        config.bar_minutes,
        config.market.tick,
        series.seed,
        config.market.flow,
    )


def slow_data(config: LayerConfig, split: Split) -> SlowData:
    """The data of one split; computed once for a configuration and kept.

    Raises:
        DataError: the split holds no episode.
    """
    tables = _tables(Keyed(data_key(config), config))
    parts = _ranges(tables.starts, config, split, "bars")
    rows = hull(parts)
    played = [(part.first, part.after) for part in parts]
    if split == "train" and config.augmentation.copies:
        tables, copies = _copied(Keyed(with_augmentation(data_key(config), config), config))
        played += copies
    starts = starts_in(tables.whole, played, config.horizon_bars, str(rows))
    return replace(tables, starts=starts, rows=rows)


def slow_rows(config: LayerConfig, split: Split) -> tuple[SplitRange, str]:
    """The bars of one split, from its first to its last, and the fingerprint of all.

    Raises:
        DataError: see `slow_data`.
    """
    tables = _tables(Keyed(data_key(config), config))
    return hull(_ranges(tables.starts, config, split, "bars")), tables.fingerprint


def slow_data_of(bars: Bars, config: LayerConfig, model: RegimeModel) -> SlowData:
    """The data of bars at hand under a model at hand, all of them one split without starts.

    Raises:
        ConfigError, DataError: the bars are not of the layer's length or the model's.
    """
    tables = _computed(bars, config, lambda: model)
    rows = SplitRange("test", 0, len(bars), int(bars.start[0]), int(bars.start[-1]))
    return replace(tables, starts=np.zeros(1, np.int64), rows=rows)


def data_key(config: LayerConfig) -> str:
    """What tables of bars depend on: a change of rewards or accounts computes nothing anew."""
    return _key(config.model_dump(mode="json"))


def content_key(config: LayerConfig) -> str:
    """The same wherever a file of bars lies, whose fingerprint says what it holds."""
    told = config.model_dump(mode="json")
    told["market"]["reference"].get("bars", {}).pop("path", None)
    return _key(told)


def with_augmentation(key: str, config: LayerConfig) -> str:
    """A key of bars as one of these bars and their copies."""
    return f"{key}-{config.augmentation.model_dump_json()}"


def _key(told: dict[str, Any]) -> str:
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
    """What all splits share; `starts` are the stamps of all bars, `rows` those to fit on.

    Of training in several parts that is the longest one: where two parts meet, prices jump.
    """
    config = keyed.config
    bars = bars_of_layer(config)
    train = max(_ranges(bars.start, config, "train", bars.source), key=len)

    def fitted() -> RegimeModel:
        return fit_regimes(_part(bars, train), int(config.bar_minutes), config.signals)

    return replace(_computed(bars, config, fitted, content_key(config)), rows=train)


@lru_cache(maxsize=2)
def _copied(keyed: Keyed) -> tuple[SlowData, tuple[tuple[int, int], ...]]:
    """The bars with copies of the training split behind them, and where these lie.

    The regime model is the one of the bars alone: what it is fitted on never changes.
    """
    config = keyed.config
    tables = _tables(Keyed(data_key(config), config))
    joined = with_copies(bars_of_layer(config), tables.rows, config)
    key = with_augmentation(content_key(config), config)
    found = _computed(joined.bars, config, lambda: tables.model, key)
    return replace(found, rows=tables.rows), joined.copies


def _computed(
    bars: Bars, config: LayerConfig, model: Callable[[], RegimeModel], key: str = ""
) -> SlowData:
    """Tape and tables of `bars`; the tables are kept on disk under `key`, where there is one."""
    minutes, tick = int(config.bar_minutes), config.market.tick

    def make() -> dict[str, NDArray[Any]]:
        fitted = model()
        features = slow_features(bars, minutes, tick, config.signals)
        strategic = strategic_table(bars, minutes, tick, config.signals, features)
        regimes = regime_table(bars, minutes, tick, fitted, config.signals, features)
        return {
            "strategic": strategic.values,
            "strategic_warm": strategic.warm,
            "regimes": regimes.values,
            "regimes_warm": regimes.warm,
            "hole": strategic.hole,
            "model": np.frombuffer(json.dumps(asdict(fitted)).encode(), np.uint8),
        }

    found = kept("slow", key_of(__file__, key, bars.fingerprint), make) if key else make()
    hole = found["hole"]
    return SlowData(
        bar_tape(bars, config.bar_minutes, tick, config.past_bars),
        FeatureTable(found["strategic"], found["strategic_warm"], STRATEGIC_COLUMNS, hole),
        FeatureTable(found["regimes"], found["regimes_warm"], REGIME_COLUMNS, hole),
        bars.start,
        bars.fingerprint,
        RegimeModel(**_frozen(json.loads(found["model"].tobytes()))),
        SplitRange("train", 0, len(bars), int(bars.start[0]), int(bars.start[-1])),
    )


def _frozen(value: Any) -> Any:
    """Lists of a JSON document as tuples, at any depth but the first."""
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _part(bars: Bars, rows: SplitRange) -> Bars:
    cut: dict[str, Any] = {name: getattr(bars, name)[rows.rows] for name in _PRICES}
    return replace(bars, **cut)


def _ranges(
    start: NDArray[np.int64], config: LayerConfig, split: Split, source: str
) -> tuple[SplitRange, ...]:
    least = config.horizon_bars + 1
    return split_ranges(split, len(start), start, config.splits, least=least, source=source)


def starts_in(
    whole: NDArray[np.bool_], parts: Sequence[tuple[int, int]], horizon: int, split: str
) -> NDArray[np.int64]:
    """`starts_among` of each part: (first bar, bar after its last)."""
    return np.concatenate(
        [starts_among(whole, first, after, horizon, split) for first, after in parts]
    )


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

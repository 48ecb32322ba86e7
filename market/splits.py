"""Which bars belong to which split, and walk-forward folds: one rule for every layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.splits import Split, SplitConfig

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_ROUNDING = 1e-9  # shares that sum to .8 in decimals cut at .8, not at the bar before


@dataclass(frozen=True)
class SplitRange:
    """The bars of one split.

    Attributes:
        split: its name.
        first, after: its first bar, and the bar after its last.
        begins, ends: stamps of its first and of its last bar, ns since 1970 UTC.
    """

    split: Split
    first: int
    after: int
    begins: int
    ends: int

    def __len__(self) -> int:
        return self.after - self.first

    @property
    def rows(self) -> slice:
        """The split's bars in arrays of all bars."""
        return slice(self.first, self.after)

    def __str__(self) -> str:
        first, last = (np.datetime64(stamp, "ns").astype("M8[D]") for stamp in self._stamps)
        return f"{self.split}: {len(self)} bars, {first} to {last}"

    @property
    def _stamps(self) -> tuple[int, int]:
        return self.begins, self.ends


@dataclass(frozen=True)
class Fold:
    """One fold of a walk forward."""

    train: SplitRange
    validation: SplitRange


def splits(
    count: int,
    start: NDArray[np.int64],
    config: SplitConfig,
    *,
    warmup: int = 0,
    least: int = 1,
    source: str = "bars",
) -> dict[Split, SplitRange]:
    """The ranges of all splits that have a share; see `split_range`."""
    return {
        split: split_range(split, count, start, config, warmup=warmup, least=least, source=source)
        for split in SPLITS
        if split != "validation" or config.validation_share > 0.0 or config.fold is not None
    }


def folds(
    count: int,
    start: NDArray[np.int64],
    config: SplitConfig,
    *,
    warmup: int = 0,
    least: int = 1,
    source: str = "bars",
) -> tuple[Fold, ...]:
    """All folds of the walk forward, earliest first; none holds a bar of the test split.

    Combinatorial ones are several parts each: see `split_ranges`, and `split_range`.
    """
    out = []
    for fold in range(config.walk_forward.folds):
        told = config.model_copy(update={"fold": fold})
        train, validation = (
            split_range(split, count, start, told, warmup=warmup, least=least, source=source)
            for split in ("train", "validation")
        )
        out.append(Fold(train, validation))
    return tuple(out)


def split_ranges(
    split: Split,
    count: int,
    start: NDArray[np.int64],
    config: SplitConfig,
    *,
    warmup: int = 0,
    least: int = 1,
    source: str = "bars",
) -> tuple[SplitRange, ...]:
    """The parts of one split, earliest first: one, unless the fold is a combinatorial one.

    A part that is left with fewer bars than `least` is left out. Training is purged and
    embargoed on both sides of what is held out, as by skfolio's `CombinatorialPurgedCV`; what
    is held out, besides, is embargoed after training and purged before it, as of any fold.

    Raises:
        DataError: stamps do not rise, or no part holds `least` bars.
        ConfigError: there is no such split.
    """
    if not config.combined or split == "test":
        return (
            split_range(split, count, start, config, warmup=warmup, least=least, source=source),
        )
    _check(split, count, start, config, source)
    parts = [(max(first, warmup), after) for first, after in _turns(split, count, config)]
    enough = [(first, after) for first, after in parts if after - first >= max(least, 1)]
    if not enough:
        most = max(max(after - first, 0) for first, after in parts)
        raise DataError(
            f"{source}: {count} bars leave {most} at most for a part of {_named(split, config)}, "
            f"expected {max(least, 1)} or more after {config.purge_bars} purged (purge_bars) and "
            f"{config.embargo_bars} embargoed ones (embargo_bars); give a longer file, smaller "
            "settings or fewer blocks (walk_forward.folds)"
        )
    return tuple(
        SplitRange(split, first, after, int(start[first]), int(start[after - 1]))
        for first, after in enough
    )


def hull(parts: tuple[SplitRange, ...]) -> SplitRange:
    """From the first bar of the first part to the last of the last."""
    first, last = parts[0], parts[-1]
    return SplitRange(first.split, first.first, last.after, first.begins, last.ends)


def split_range(
    split: Split,
    count: int,
    start: NDArray[np.int64],
    config: SplitConfig,
    *,
    warmup: int = 0,
    least: int = 1,
    source: str = "bars",
) -> SplitRange:
    """The bars of one split.

    Args:
        split: its name.
        count: n, bars in all.
        start: int64 [n], their stamps, ns since 1970 UTC, strictly rising.
        config: shares, purge, embargo, and the fold where one is named.
        warmup: bars at the very beginning that no split has, since they lack a past.
        least: bars that the split must hold, such as those of one episode.
        source: what the bars came from, for messages.

    Raises:
        DataError: stamps do not rise, or the split holds fewer bars than `least`.
        ConfigError: there is no such split, or its share is 0.
    """
    if config.combined and split != "test":
        raise ConfigError(
            f"walk_forward.kind=combinatorial: {_named(split, config)} lies in several parts, and "
            "what reads it takes one: expected kind anchored or rolling here; the strategic and "
            "the tactical layer, nothing loaded above them, take combinatorial folds"
        )
    _check(split, count, start, config, source)
    first, after = _borders(count, config)[split]
    if split != "train":
        first += config.embargo_bars
    if split != "test":
        after -= config.purge_bars
    first = max(first, warmup)
    if after - first < max(least, 1):
        raise DataError(
            f"{source}: {count} bars leave {max(after - first, 0)} for {_named(split, config)}, "
            f"expected {max(least, 1)} or more after {warmup} bars of past, {config.purge_bars} "
            f"purged (purge_bars) and {config.embargo_bars} embargoed ones (embargo_bars); give a "
            "longer file, smaller settings or a larger share"
        )
    return SplitRange(split, first, after, int(start[first]), int(start[after - 1]))


def _check(
    split: Split, count: int, start: NDArray[np.int64], config: SplitConfig, source: str
) -> None:
    if split not in SPLITS:
        raise ConfigError(f"split={split!r}: expected one of {', '.join(SPLITS)}")
    if start.shape != (count,):
        raise DataError(f"{source}: stamps have shape {start.shape}, expected {(count,)}")
    if count and (np.diff(start) <= 0).any():
        row = int(np.flatnonzero(np.diff(start) <= 0)[0]) + 1
        raise DataError(
            f"{source}: bar {row} does not come after the one before it, expected rising stamps"
        )
    if split == "validation" and config.fold is None and config.validation_share == 0.0:
        raise ConfigError(
            "validation_share=0: there is no validation split; expected a share above 0, or a "
            "fold (fold=0)"
        )


def _named(split: Split, config: SplitConfig) -> str:
    if config.fold is None or split == "test":
        return f"the {split} split"
    return f"the {split} split of fold {config.fold} of {config.walk_forward.count}"


def _cut(count: int, share: float) -> int:
    return math.floor(count * share + _ROUNDING)


def _borders(count: int, config: SplitConfig) -> dict[Split, tuple[int, int]]:
    """First bar and bar after the last of each split, before anything is left out."""
    test = _cut(count, config.train_share + config.validation_share)
    if config.fold is None:
        cut = _cut(count, config.train_share)
        return {"train": (0, cut), "validation": (cut, test), "test": (test, count)}
    walk, fold = config.walk_forward, config.fold
    length = _cut(test, walk.first_share)
    block, after = (length + (test - length) * k // walk.folds for k in (fold, fold + 1))
    begin = block - length if walk.kind == "rolling" else 0
    return {"train": (begin, block), "validation": (block, after), "test": (test, count)}


def _turns(split: Split, count: int, config: SplitConfig) -> list[tuple[int, int]]:
    """First bar and bar after the last of every part of a combinatorial fold's split.

    Blocks are of equal length, but for the last, which takes what is left over.
    """
    walk = config.walk_forward
    end = _cut(count, config.train_share + config.validation_share)
    length = end // walk.folds
    held = tuple(combinations(range(walk.folds), walk.test_blocks))[config.fold or 0]
    out = []
    for is_held, group in groupby(range(walk.folds), key=lambda block: block in held):
        blocks = list(group)
        if is_held != (split == "validation"):
            continue
        first, after = blocks[0] * length, (blocks[-1] + 1) * length
        if blocks[-1] == walk.folds - 1:
            after = end
        if blocks[0] > 0:
            # Training begins anew behind what no held-out bar's label or window reaches into.
            first += config.embargo_bars + (0 if is_held else config.purge_bars)
        out.append((first, after - config.purge_bars))
    return out

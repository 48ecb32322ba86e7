"""Splits: by time, apart, complete, and one clear error where one is too short."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import ConfigError, DataError
from configs.loading import load_config
from configs.market import BarReference
from configs.splits import SplitConfig
from market.splits import SPLITS, SplitRange, folds, split_range, split_ranges, splits

HALF_HOUR = 1_800_000_000_000
COUNTS = st.integers(400, 3_000)
GAPS = st.integers(0, 12)


def stamps(count: int) -> np.ndarray:
    return 1_600_000_000_000_000_000 + HALF_HOUR * np.arange(count, dtype=np.int64)


def told(**changes: Any) -> SplitConfig:
    return load_config(SplitConfig, changes)


def ranges(count: int, warmup: int = 0, **changes: Any) -> dict[str, tuple[int, int]]:
    found = splits(count, stamps(count), told(**changes), warmup=warmup)
    return {name: (part.first, part.after) for name, part in found.items()}


def test_the_default_trains_on_the_first_seven_tenths() -> None:
    assert ranges(1_000) == {"train": (0, 700), "validation": (746, 800), "test": (846, 1_000)}


def test_shares_purge_and_embargo_by_hand() -> None:
    found = ranges(100, 5, train_share=0.5, validation_share=0.3, purge_bars=4, embargo_bars=6)
    assert found == {"train": (5, 46), "validation": (56, 76), "test": (86, 100)}


def test_ranges_carry_their_stamps() -> None:
    start = stamps(1_000)
    part = split_range("validation", 1_000, start, told())
    assert (part.begins, part.ends) == (start[746], start[799])
    assert len(part) == 54
    assert np.array_equal(start[part.rows], start[746:800])
    assert str(part) == "validation: 54 bars, 2020-09-29 to 2020-09-30"


@given(COUNTS, GAPS, GAPS, st.floats(0.2, 0.6), st.floats(0.1, 0.3))
def test_splits_follow_each_other_apart_by_purge_and_embargo(
    count: int, purge: int, embargo: int, train: float, validation: float
) -> None:
    found = splits(
        count,
        stamps(count),
        told(
            train_share=train,
            validation_share=validation,
            purge_bars=purge,
            embargo_bars=embargo,
        ),
    )
    assert list(found) == list(SPLITS)
    parts = list(found.values())
    for before, after in itertools.pairwise(parts):
        assert after.first - before.after == purge + embargo
        assert after.begins > before.ends
    assert (parts[0].first, parts[-1].after) == (0, count)


@given(COUNTS, GAPS, GAPS, st.integers(1, 6), st.sampled_from(["anchored", "rolling"]))
def test_folds_walk_forward_and_never_touch_the_test(
    count: int, purge: int, embargo: int, number: int, kind: str
) -> None:
    config = told(
        purge_bars=purge,
        embargo_bars=embargo,
        walk_forward={"kind": kind, "folds": number},
    )
    assume(0.8 * count * 0.5 / number > purge + embargo + 2)
    start = stamps(count)
    walk = folds(count, start, config)
    test = split_range("test", count, start, config)
    assert len(walk) == number
    for fold in walk:
        assert fold.validation.first - fold.train.after == purge + embargo
        assert fold.validation.after + purge + embargo <= test.first
    lengths = [len(fold.train) for fold in walk]
    for before, after in itertools.pairwise(walk):
        # Blocks of validation meet, but for what is left out, and none is validated on twice.
        assert after.validation.first - before.validation.after == purge + embargo
    if kind == "rolling":
        assert len(set(lengths)) == 1
        if number > 1:
            assert walk[1].train.first > walk[0].train.first
    else:
        assert all(fold.train.first == 0 for fold in walk)
        assert lengths == sorted(lengths)
    assert walk[-1].validation.after + purge == int(count * 0.8 + 1e-9)


def test_a_fold_takes_the_place_of_the_shares() -> None:
    config = told(embargo_bars=0, fold=1, walk_forward={"folds": 4, "first_share": 0.5})
    assert ranges(1_000, embargo_bars=0, fold=1, walk_forward={"folds": 4}) == {
        "train": (0, 500),
        "validation": (500, 600),
        "test": (800, 1_000),
    }
    assert folds(1_000, stamps(1_000), config)[1].train.after == 500


def test_bars_of_every_layer_are_cut_by_the_same_settings() -> None:
    """The keys of the reference are those of the splits, as they were."""
    reference = load_config(
        BarReference,
        {"kind": "bars", "bars": {"path": "x"}, "train_share": 0.6, "embargo_bars": 10},
    )
    assert isinstance(reference, SplitConfig)
    assert split_range("train", 400, stamps(400), reference).after == 240


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "too short": (
        lambda: split_range("test", 60, stamps(60), told(), source="x.csv"),
        DataError,
        r"x\.csv: 60 bars leave 0 for the test split, expected 1 or more .* 46 embargoed",
    ),
    "shorter than an episode": (
        lambda: split_range("validation", 1_000, stamps(1_000), told(), least=55),
        DataError,
        r"1000 bars leave 54 for the validation split, expected 55 or more",
    ),
    "a fold too short": (
        lambda: folds(100, stamps(100), told()),
        DataError,
        r"the validation split of fold 0 of 5",
    ),
    "no validation": (
        lambda: split_range("validation", 100, stamps(100), told(validation_share=0.0)),
        ConfigError,
        r"validation_share=0: there is no validation split",
    ),
    "another name": (
        lambda: split_range("tset", 100, stamps(100), told()),  # type: ignore[arg-type]
        ConfigError,
        r"split='tset': expected one of train, validation, test",
    ),
    "stamps that stand still": (
        lambda: split_range("train", 3, np.array([1, 2, 2]), told()),
        DataError,
        r"bar 2 does not come after",
    ),
    "stamps of other bars": (
        lambda: split_range("train", 3, stamps(4), told()),
        DataError,
        r"stamps have shape \(4,\), expected \(3,\)",
    ),
    "no test": (
        lambda: told(train_share=0.8, validation_share=0.2),
        ConfigError,
        r"train_share \+ validation_share is 1, expected less than 1",
    ),
    "no such fold": (lambda: told(fold=5), ConfigError, r"fold is 5, expected less than"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_cut_is_explained(name: str) -> None:
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_without_a_share_there_is_no_validation_among_the_splits() -> None:
    found = ranges(100, validation_share=0.0, embargo_bars=3)
    assert found == {"train": (0, 70), "test": (73, 100)}
    part = split_range("train", 100, stamps(100), told(validation_share=0.0))
    assert isinstance(part, SplitRange)


def combined(
    count: int, purge: int, embargo: int, fold: int, blocks: int, held: int
) -> SplitConfig:
    walk = {"kind": "combinatorial", "folds": blocks, "test_blocks": held}
    return told(purge_bars=purge, embargo_bars=embargo, fold=fold, walk_forward=walk)


def bars_of(split: Any, count: int, config: SplitConfig) -> np.ndarray:
    parts = split_ranges(split, count, stamps(count), config)
    return np.concatenate([np.arange(part.first, part.after) for part in parts])


@pytest.mark.parametrize(("blocks", "held"), [(6, 2), (7, 3), (4, 3)])
@pytest.mark.parametrize(("purge", "embargo"), [(0, 0), (3, 0), (4, 7)])
def test_combinatorial_training_is_skfolios(
    blocks: int, held: int, purge: int, embargo: int
) -> None:
    selection = pytest.importorskip("skfolio.model_selection")
    count = 503
    before_test = 402  # 80% of them
    theirs = list(
        selection.CombinatorialPurgedCV(
            n_folds=blocks, n_test_folds=held, purged_size=purge, embargo_size=embargo
        ).split(np.zeros((before_test, 1)))
    )
    assert len(theirs) == combined(count, 0, 0, 0, blocks, held).walk_forward.count
    for fold, (train, blocks_held) in enumerate(theirs):
        config = combined(count, purge, embargo, fold, blocks, held)
        found = bars_of("train", count, config)
        # Ours is purged before the test split, too, which skfolio does not know of.
        last = before_test - purge
        assert np.array_equal(found, train[train < last])
        validation = bars_of("validation", count, config)
        every = np.sort(np.concatenate(blocks_held))
        assert set(validation) <= set(every)
        assert len(every) - len(validation) <= held * (purge + embargo)


def test_no_bar_of_training_is_near_one_held_out() -> None:
    count, purge, embargo = 1_000, 5, 9
    for fold in range(15):
        config = combined(count, purge, embargo, fold, 6, 2)
        train, held = (bars_of(split, count, config) for split in ("train", "validation"))
        behind = train[:, None] - held[None, :]
        assert np.abs(behind).min() > purge + embargo
        assert max(train.max(), held.max()) < 800 - purge


def test_who_takes_one_part_refuses_several() -> None:
    config = combined(1_000, 0, 0, 3, 6, 2)
    with pytest.raises(ConfigError, match="lies in several parts, and what reads it takes one"):
        split_range("train", 1_000, stamps(1_000), config)
    assert split_range("test", 1_000, stamps(1_000), config).first == 800
    with pytest.raises(DataError, match="leave 133 at most for a part of the validation split"):
        split_ranges("validation", 1_000, stamps(1_000), combined(1_000, 0, 0, 1, 6, 2), least=200)
    with pytest.raises(ConfigError, match="test_blocks is 4 with folds=4"):
        told(walk_forward={"kind": "combinatorial", "folds": 4, "test_blocks": 4})
    with pytest.raises(ConfigError, match="fold is 15, expected less than"):
        combined(1_000, 0, 0, 15, 6, 2)

"""How bars are cut by time into training, validation and test, for every layer alike."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.base import Config

Split = Literal["train", "validation", "test"]


class WalkForwardConfig(Config):
    """Folds inside the bars before the test split.

    The bars after the first `first_share` of them are cut into `folds` blocks of validation.
    A fold trains on what lies before its block: from the first bar on (anchored), or on as
    many bars as the first fold does (rolling).

    Combinatorial folds (Lopez de Prado, "Advances in Financial Machine Learning", 2018, chapter
    12) cut all bars before the test split into `folds` blocks; every choice of `test_blocks` of
    them is a fold's validation, and the fold trains on the others, those after them too.
    """

    kind: Literal["anchored", "rolling", "combinatorial"] = "anchored"
    folds: PositiveInt = 5
    test_blocks: PositiveInt = Field(2, description="that a combinatorial fold holds out")
    first_share: float = Field(
        0.5, gt=0.0, lt=1.0, description="of the bars before the test split, to train the first on"
    )

    @property
    def count(self) -> int:
        """How many folds there are."""
        combined = self.kind == "combinatorial"
        return math.comb(self.folds, self.test_blocks) if combined else self.folds

    @model_validator(mode="after")
    def _leaves_blocks_to_train(self) -> Self:
        if self.kind == "combinatorial" and self.test_blocks >= self.folds:
            raise ValueError(
                f"test_blocks is {self.test_blocks} with folds={self.folds} of kind combinatorial: "
                "expected fewer, so that some are left to train on"
            )
        return self


class SplitConfig(Config):
    """Shares of the bars, earliest first, and what is left out where two splits meet.

    Purge and embargo follow Lopez de Prado, "Advances in Financial Machine Learning" (2018),
    chapter 7: `purge_bars` drops the end of the earlier split, whose labels, holding periods
    or episodes would reach into the later one; `embargo_bars` drops the start of the later
    split, whose features still look back into the earlier one or move along with it. Features
    never share a bar across a border where both together are at least the longest window.
    """

    train_share: float = Field(0.7, gt=0.0, lt=1.0, description="earliest share, for training")
    validation_share: float = Field(
        0.1, ge=0.0, lt=1.0, description="the share after it; what is left is for the test"
    )
    purge_bars: NonNegativeInt = Field(
        0, description="left out at the end of a split that another follows"
    )
    embargo_bars: NonNegativeInt = Field(
        46, description="left out at the start of a split that follows another"
    )
    walk_forward: WalkForwardConfig = WalkForwardConfig()
    fold: NonNegativeInt | None = Field(
        None, description="train and validate on this fold of walk_forward instead of the shares"
    )

    @model_validator(mode="after")
    def _leaves_a_test(self) -> Self:
        total = self.train_share + self.validation_share
        if total >= 1.0 - 1e-9:
            raise ValueError(
                f"train_share + validation_share is {total:g}, expected less than 1: the rest is "
                "the test split"
            )
        if self.fold is not None and self.fold >= self.walk_forward.count:
            name = "folds" if self.walk_forward.kind != "combinatorial" else "folds' combinations"
            raise ValueError(
                f"fold is {self.fold}, expected less than walk_forward.{name} "
                f"({self.walk_forward.count}): folds are counted from 0"
            )
        return self

    @property
    def combined(self) -> bool:
        """Whether training and validation lie in several parts, one after the other in turns."""
        return self.fold is not None and self.walk_forward.kind == "combinatorial"

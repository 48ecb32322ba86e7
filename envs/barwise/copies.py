"""Augmented copies of the training bars, put behind all bars, with a hole before each.

Indicators begin anew at holes and episodes play across none, so that a copy is a past of its
own. Rows of the bars themselves are those that they have without copies, since nothing looks
ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from configs.barwise import LayerConfig
from market.augment import augmented
from market.bars import Bars
from market.splits import SplitRange

_HOUR_NS = 3_600_000_000_000
_WEEK_NS = 7 * 24 * _HOUR_NS
_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Joined:
    """Bars and copies in one row; `copies` are each one's first bar and the bar after its last."""

    bars: Bars
    copies: tuple[tuple[int, int], ...]


def with_copies(bars: Bars, train: SplitRange, config: LayerConfig) -> Joined:
    """`bars`, then the copies of their training split that `config.augmentation` asks for.

    A copy's stamps are those of the training bars, whole weeks later.

    Args:
        train: the training split's range of `bars`.

    Raises:
        ConfigError: `train` is another split.
        DataError: the moves of a copy lead to prices that are none.
    """
    told = config.augmentation
    hole = max(told.hole_hours, config.signals.clock.longest_break_hours) * _HOUR_NS
    span = int(bars.start[-1] - bars.start[0])
    shift = -(-int(span + hole) // _WEEK_NS) * _WEEK_NS + _WEEK_NS
    parts, edges = [bars], [len(bars)]
    for copy in range(told.copies):
        made = augmented(bars, train, told, copy, told.seed, config.market.tick)
        parts.append(replace(made, start=made.start + (copy + 1) * shift))
        edges.append(edges[-1] + len(made))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("start", *_COLUMNS)
    }
    for column in columns.values():
        column.flags.writeable = False
    return Joined(replace(bars, **columns), tuple(pairwise(edges)))

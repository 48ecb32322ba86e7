"""The average true range of bars, over a whole series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.signals import SignalsConfig
from market.bars import Bars
from market.kernels import kernel
from signals.bars.clock import read_clock
from signals.bars.trend import ATR, atr_update


def average_ranges(
    bars: Bars, bar_minutes: int, config: SignalsConfig | None = None
) -> NDArray[np.float64]:
    """Wilder's average true range at each close, float64 [n], currency; NaN until warm.

    Args:
        bars: of one length.
        bar_minutes: that length.
        config: how many bars are averaged, and what a hole is, after which it starts again.

    Raises:
        ConfigError: `bar_minutes` is not positive.
        DataError: bars overlap.
    """
    config = config or SignalsConfig()
    out = np.empty(len(bars))
    for first, after in read_clock(bars.start, bar_minutes, config.clock).segments:
        part = slice(first, after)
        state = np.zeros(1, ATR)
        _series(
            state, config.atr_bars, bars.high[part], bars.low[part], bars.close[part], out[part]
        )
    out.flags.writeable = False
    return out


@kernel
def _series(state: Any, length: int, high: Any, low: Any, close: Any, out: Any) -> None:
    for bar in range(len(out)):
        out[bar] = atr_update(state, length, high[bar], low[bar], close[bar])

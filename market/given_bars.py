"""Execution paths inside bars that are given, with the bar of each episode told.

As `market.sources.BarSource` plays a file's bars; but of bars at hand, of any length that holds
an episode, and of chosen ones: those about which something is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.execution import ExecutionConfig
from market.bar_tape import BarTape
from market.kernels import kernel
from market.random import PURPOSE_BARS, stream_key, uniform
from market.sources import BarSource

_ROUNDING = 1e-9


@kernel
def _drawn_bars(rows: Any, path_seeds: Any, episodes: Any, count: int, out: Any) -> None:
    """The bar that `BarSource.prepare` draws for each episode, of `count`."""
    for n in rows:
        draw = stream_key(path_seeds[n], episodes[n].episode, PURPOSE_BARS)
        out[n] = int(uniform(draw, 0) * count)


class GivenBarSource(BarSource):
    """Windows inside chosen bars of a tape.

    Args:
        config: the execution environment's.
        tape: all bars, with what was known before each.
        chosen: int64 [m], the bars that episodes may play, one or more.
        fingerprint: of the bars.
        num: N, episodes.

    Attributes:
        drawn: int64 [N], the place in `chosen` of the bar that each episode plays.

    Raises:
        ConfigError: an episode is longer than a bar.
    """

    def __init__(
        self,
        config: ExecutionConfig,
        tape: BarTape,
        chosen: NDArray[np.int64],
        fingerprint: str,
        num: int,
    ) -> None:
        steps = int(tape.bar_seconds / config.step_seconds + _ROUNDING)
        if config.parent.horizon_steps > steps:
            raise ConfigError(
                f"parent.horizon_steps={config.parent.horizon_steps}: under artefacts of the "
                f"layers above an episode lives inside one bar of {tape.bar_seconds:g} s, expected "
                f"at most {steps} steps of {config.step_seconds:g} s; shorten the horizon or the "
                "step"
            )
        bars, arrivals = tape.tape, config.market.flow.arrivals
        self.fingerprint = fingerprint
        self.drawn = np.zeros(num, np.int64)
        # Bars follow each other in no order here: each is played alone.
        self._range = (0, len(chosen))
        self._steps = steps
        self._ohlc = np.ascontiguousarray(bars.ohlc[chosen])
        self._activity = bars.pace[chosen]
        self._sigma = bars.sigma[chosen] / np.sqrt(steps)
        self._day = bars.day[chosen]
        self._rate = arrivals.messages_per_second
        self._memories = np.array(arrivals.activity_seconds)
        self._dispersion = arrivals.activity_dispersion

    def prepare(self, market: Any, rows: NDArray[np.int64], path_seeds: NDArray[np.uint64]) -> None:
        """See `market.sources.PathSource.prepare`."""
        super().prepare(market, rows, path_seeds)
        _drawn_bars(rows, path_seeds, market.episodes, self._range[1], self.drawn)

"""VWAP and POV as policies of `execution_v1`: schedules that follow the market's volume.

They act through the agents' own joint actions, as TWAP and Almgren-Chriss do
(`trainers.baselines`), and pay what the agents pay. Besides rows they count what others have
traded so far, as any desk can: the sum over venues of each finished step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.execution import ExecutionConfig
from market.worker import SLOW
from trainers.baselines import ScheduleBaseline

_Floats = NDArray[np.float64]
PRIOR_STEPS = 2.0  # steps of volume that the expected one is worth before any was seen


@dataclass
class VolumeBaseline(ScheduleBaseline):
    """A schedule on the market's volume instead of the clock.

    Args:
        follows: "share": done is the share of the horizon's volume that has passed, the rest of
            it estimated from what was expected and what was seen (VWAP, updated as in Bialkowski,
            Darolles and Le Fol, "Improving VWAP strategies", 2008). "rate": done is a fixed part
            of the volume so far, the parent over its expected volume (POV); what a quiet market
            leaves is crossed on the last step.
    """

    follows: Literal["share", "rate"] = "share"
    _market: Any = field(default=None, init=False, repr=False)
    _mean: _Floats = field(default_factory=lambda: np.zeros(0), init=False, repr=False)
    _volume: _Floats = field(default_factory=lambda: np.zeros(0), init=False, repr=False)

    def watch(self, env: Any) -> None:
        """The environment whose volume is counted (`trainers.evaluate.Watcher`)."""
        self._market = env.simulator.market

    def reset(self, rows: int) -> None:
        """Forget the volume that was counted."""
        super().reset(rows)
        self._mean, self._volume = np.zeros(rows), np.zeros(rows)

    def _open(self, table: _Floats, left: _Floats, at_end: _Floats) -> _Floats:
        if self._market is None:
            raise TrainingError(
                "VWAP and POV count the market's volume: expected to be shown the environment "
                "(`watch`) before its episodes begin, as trainers.evaluate does"
            )
        horizon = float(self.config.parent.horizon_steps)
        expected = self._market.episodes["step_volume"]
        passed = horizon - left
        self._count(passed == 0.0)
        pace = (PRIOR_STEPS * expected + self._volume) / (PRIOR_STEPS + passed)
        coming = self._volume + pace * (left - at_end)
        whole = self._volume + pace * left if self.follows == "share" else expected * horizon
        open_ = np.clip(1.0 - coming / whole, 0.0, 1.0)
        return np.where(at_end <= 0.0, 0.0, open_)

    def _count(self, begins: NDArray[np.bool_]) -> None:
        """Add the last step's volume, which the simulator's running mean of it tells."""
        mean = self._market.episodes["volume_mean"].copy()
        last = self._mean + (mean - self._mean) / SLOW
        self._volume = np.where(begins, 0.0, self._volume + last)
        self._mean = mean


def volume_baselines(config: ExecutionConfig, slice_steps: int) -> dict[str, VolumeBaseline]:
    """The baselines by name, crossing at once or waiting `slice_steps` in the queue."""
    return {
        "vwap": VolumeBaseline(config, False, follows="share"),
        "vwap_passive": VolumeBaseline(config, False, slice_steps, follows="share"),
        "pov": VolumeBaseline(config, False, follows="rate"),
        "pov_passive": VolumeBaseline(config, False, slice_steps, follows="rate"),
    }

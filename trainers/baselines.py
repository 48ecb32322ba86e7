"""TWAP and Almgren-Chriss as policies of `execution_v1`, each in its best honest form.

They see what the agents see and act through the same joint actions. The aggressive
form takes its slice at once by the router. The passive form joins the own side's
best queue with the slice, follows that queue when it moves away, and crosses what is
left at the slice's end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from market import decode
from signals.execution import EXECUTION

_COLUMN = {column.name: index for index, column in enumerate(EXECUTION.columns)}
_NEUTRAL = 0.5
_LINEAR = 1e-6
_SMALL = 1e-12


def neutral_action(rows: int) -> NDArray[np.float32]:
    """The schedule itself by the router at once: approve, one child, no delay, keep resting."""
    action = np.zeros((rows, EXECUTION.action_width), np.float32)
    action[:, decode.CONFIDENCE] = _NEUTRAL
    action[:, decode.FIRST_WEIGHT] = 1.0
    action[:, decode.SHARE] = _NEUTRAL
    action[:, decode.STEALTH] = 1.0
    action[:, decode.RISK_DECISION] = decode.APPROVE
    action[:, decode.PREDICTED_QUALITY] = _NEUTRAL
    action[:, decode.URGENCY_SHIFT] = _NEUTRAL
    action[:, decode.CANCEL_THRESHOLD] = 1.0
    return action


def share_component(factor: NDArray[np.float64], multiple: float) -> NDArray[np.float64]:
    """The action that asks for `factor` times the schedule: the inverse of `share_factor`."""
    capped = np.clip(factor, 0.0, multiple)
    geometric = 0.5 + 0.5 * np.log(np.maximum(capped, 1.0)) / np.log(multiple)
    return np.where(capped <= 1.0, 0.5 * capped, geometric)


@dataclass
class ScheduleBaseline:
    """A schedule worked by crossing, or by joining the queue and crossing at slice ends.

    Args:
        config: the environment it plays in.
        risk_averse: Almgren-Chriss with the reward's lambda; TWAP where False.
        slice_steps: 1 crosses every step's slice; more wait that long in the queue.
        peg: cancel threshold while waiting; an order that far behind the best (.1 is one
            tick by default) is cancelled and asked for again.
    """

    config: ExecutionConfig
    risk_averse: bool
    slice_steps: int = 1
    peg: float = 0.1
    _planned: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(0), init=False, repr=False
    )

    def reset(self, rows: int) -> None:
        """Forget the urgencies that earlier episodes were planned with."""
        self._planned = np.zeros(rows)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, row width] to [N, action width]."""
        table = rows.astype(np.float64)
        horizon = self.config.parent.horizon_steps
        left = np.maximum(np.rint(table[:, _COLUMN["time_left"]] * horizon), 1.0)
        open_share = table[:, _COLUMN["remaining_share"]]
        resting = open_share * table[:, _COLUMN["resting_share"]]
        action = neutral_action(len(table))
        phase = (horizon - left) % self.slice_steps
        last = (phase == self.slice_steps - 1) | (left <= 1.0)
        at_end = np.maximum(left - (self.slice_steps - phase), 0.0)
        planned = self._open(table, left, at_end)
        # What the slice still owes; on its last step what rests is cancelled and crossed too.
        owed = np.maximum(open_share - planned, 0.0) - np.where(last, 0.0, resting)
        wanted = np.maximum(owed, 0.0) / np.maximum(open_share, _SMALL)
        action[:, decode.SHARE] = share_component(wanted * left, self.config.child.share_multiple)
        action[:, decode.URGENCY] = last
        action[:, decode.CANCEL_THRESHOLD] = np.where(last, 0.0, self.peg)
        return action

    def _open(
        self, table: NDArray[np.float64], left: NDArray[np.float64], at_end: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The share of the parent that the schedule leaves open when its slice ends, [N].

        left, at_end: steps left, now and then.
        """
        horizon = float(self.config.parent.horizon_steps)
        urgency = self._plan(table, left == horizon)
        return _kept(urgency, at_end, np.full(len(left), horizon))

    def _plan(self, table: NDArray[np.float64], begins: NDArray[np.bool_]) -> NDArray[np.float64]:
        """kappa tau of each row, settled when its episode began: the static optimum's plan.

        Estimated anew each step it would make the plan wait whenever the estimate fell.
        """
        if len(self._planned) != len(table):
            self.reset(len(table))
        if self.risk_averse and begins.any():
            self._planned[begins] = self._urgency(table[begins])
        return self._planned

    def _urgency(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """kappa tau of what a row knows: the agents' schedule at volatility adjustment .5."""
        sigma = np.expm1(2.0 * table[:, _COLUMN["volatility_long"]])
        participation = 10.0 ** (3.0 * (table[:, _COLUMN["parent_size"]] - 1.0))
        volumes = participation * self.config.parent.horizon_steps
        impact = self.config.schedule.impact_slope_bp * volumes
        aversion = self.config.reward.risk_aversion
        return np.asarray(np.arccosh(1.0 + 0.5 * aversion * sigma**2 / impact))


def _kept(
    urgency: NDArray[np.float64], after: NDArray[np.float64], before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """sinh(kappa after) / sinh(kappa before), the share of holdings kept between these steps left.

    Written so that nothing overflows; after / before in the limit of no urgency.
    """
    k = np.maximum(urgency, _LINEAR)
    decay = np.exp(-k * (before - after))
    curved = decay * np.expm1(-2.0 * k * after) / np.expm1(-2.0 * k * before)
    return np.where(urgency < _LINEAR, after / before, curved)


def execution_baselines(config: ExecutionConfig, slice_steps: int) -> dict[str, ScheduleBaseline]:
    """The baselines by name; `slice_steps` is how long the passive forms wait."""
    return {
        "twap": ScheduleBaseline(config, risk_averse=False),
        "twap_passive": ScheduleBaseline(config, False, slice_steps),
        "almgren_chriss": ScheduleBaseline(config, risk_averse=True),
        "almgren_chriss_passive": ScheduleBaseline(config, True, slice_steps),
    }

"""What a categorical head says beside its choice: direction, size and confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Readout(NamedTuple):
    """Of each row, from the probabilities of its choices.

    direction: [N, 3], probabilities of SELL, HOLD and BUY, as `signals.superposition` orders
        them: choices by the sign of the change of position that each makes.
    size: [N], the mean size of the change, in the unit of `moves`.
    confidence: [N], of the likeliest direction, calibrated where logits were divided by a
        fitted temperature.
    """

    direction: Tensor
    size: Tensor
    confidence: Tensor


def read_out(logits: Tensor, moves: Tensor, temperature: float = 1.0) -> Readout:
    """Direction, size and confidence of choices; exports as it is.

    Args:
        logits: [N, C]; what is not allowed at the minimum (`policies.distributions.forbid`).
        moves: [N, C], the change of position that each choice makes now, any unit.
        temperature: as `policies.calibration.fit_temperature` gave it.
    """
    p = torch.softmax(logits / temperature, dim=-1)
    sign = torch.sign(moves)
    direction = torch.stack([(p * (sign == way)).sum(-1) for way in (-1.0, 0.0, 1.0)], dim=-1)
    return Readout(direction, (p * moves.abs()).sum(-1), direction.amax(-1))

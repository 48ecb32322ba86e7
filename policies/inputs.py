"""What networks read of a row: columns by their running moments where asked for, and clipped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from configs.actors import InputNorm

_LEAST_VARIANCE = 1e-8  # of a column that has not changed yet, which then reads 0


def moved(
    mean: Tensor, variance: Tensor, batch_mean: Tensor, batch_variance: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a mixture of which the batch is `share`, after West (1979).

    Subtracts no two large numbers. All float64 of one shape.
    """
    delta = batch_mean - mean
    spread = (1.0 - share) * (variance + share * delta * delta) + share * batch_variance
    return mean + share * delta, spread


class Inputs(nn.Module):
    """Rows [..., columns] as a network reads them.

    moments: by which moments each column is read, numbers from 0 on: columns of one meaning,
    such as of agents that share weights, share them.
    norm "running": every column less its mean over all rows that were trained on, in its
    standard deviations. The moments move between iterations alone, so that rows are judged
    as they were acted on, and they are buffers: saved with the weights, sent to runners with
    them, never trained.
    """

    places: Tensor
    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, moments: Sequence[int], norm: InputNorm, clip: float) -> None:
        super().__init__()
        self.running = norm == "running"
        self.clip = clip
        if self.running:
            places = torch.tensor(moments, dtype=torch.long)
            self.register_buffer("places", places, persistent=False)
            kinds = len(set(moments))
            # Single precision: RLlib's state dicts carry no doubles, and a resume must be exact.
            self.register_buffer("mean", torch.zeros(kinds))
            self.register_buffer("variance", torch.ones(kinds))
            self.register_buffer("count", torch.zeros(kinds))

    def forward(self, rows: Tensor) -> Tensor:
        if self.running:
            scale = self.variance.clamp(min=_LEAST_VARIANCE).rsqrt()
            rows = (rows - self.mean[self.places]) * scale[self.places]
        return rows.clamp(-self.clip, self.clip)

    @torch.no_grad()
    def sums(self, rows: Tensor, weight: Tensor | None) -> Tensor:
        """Count, sum and sum of squares over rows [R, columns]: float64 [3, moments].

        weight: [R, columns], 0 where a number stands for nothing; None counts all.
        """
        wide = rows.double()
        weights = torch.ones_like(wide) if weight is None else weight.double()
        of_columns = torch.stack([weights, wide * weights, wide * wide * weights]).sum(1)
        return of_columns.new_zeros(3, len(self.mean)).index_add_(1, self.places, of_columns)

    @torch.no_grad()
    def update(self, sums: Tensor) -> None:
        """Take the rows in whose `sums` these are."""
        count, first, second = sums
        some = count.clamp(min=1.0)
        mean = first / some
        variance = (second / some - mean * mean).clamp(min=0.0)
        before = self.count.double()
        share = count / (before + count).clamp(min=1.0)
        # Before the first rows the moments stand for none.
        known = torch.where(before > 0, self.variance.double(), 0.0)
        mean, variance = moved(self.mean.double(), known, mean, variance, share)
        self.mean.copy_(mean)
        self.variance.copy_(torch.where(before + count > 0, variance, 1.0))
        self.count.copy_(before + count)

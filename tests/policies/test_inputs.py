"""Running moments of rows: what they are of, who shares them, and what is read by them."""

from __future__ import annotations

import numpy as np
import torch

from policies.inputs import Inputs

CLIP = 10.0


def rows_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 500.0, 1e-3, 40.0])
    offset = torch.tensor([0.0, 1e4, 2.0, -7.0])
    return torch.randn(count, 4, generator=generator) * scale + offset


def test_without_moments_rows_are_clipped_alone():
    inputs = Inputs(range(4), "none", CLIP)
    rows = rows_of(50)
    torch.testing.assert_close(inputs(rows), rows.clamp(-CLIP, CLIP), rtol=0, atol=0)
    assert not inputs.state_dict()


def test_moments_are_those_of_all_rows_whatever_the_parts():
    inputs = Inputs(range(4), "running", CLIP)
    rows = rows_of(900)
    for part in rows.split([1, 399, 500]):
        inputs.update(inputs.sums(part, None))
    wide = rows.double().numpy()
    np.testing.assert_allclose(inputs.mean, wide.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inputs.variance, wide.var(0), rtol=1e-4)
    assert (inputs.count == 900).all()
    read = inputs(rows)
    np.testing.assert_allclose(read.mean(0), np.zeros(4), atol=2e-2)
    np.testing.assert_allclose(read.std(0), np.ones(4), atol=2e-2)


def test_before_any_row_they_change_nothing_but_what_is_clipped():
    inputs = Inputs(range(4), "running", CLIP)
    rows = rows_of(20)
    torch.testing.assert_close(inputs(rows), rows.clamp(-CLIP, CLIP))


def test_columns_of_one_meaning_share_their_moments():
    """Two agents side by side, two columns each."""
    inputs = Inputs([0, 1, 0, 1], "running", CLIP)
    rows = rows_of(300)
    inputs.update(inputs.sums(rows, None))
    pooled = rows.view(-1, 2, 2).flatten(0, 1).double().numpy()
    np.testing.assert_allclose(inputs.mean, pooled.mean(0), rtol=1e-5)
    np.testing.assert_allclose(inputs.variance, pooled.var(0), rtol=1e-4)
    exchanged = inputs(rows[:, [2, 3, 0, 1]])
    torch.testing.assert_close(exchanged, inputs(rows)[:, [2, 3, 0, 1]], rtol=0, atol=0)


def test_what_has_no_weight_is_not_counted():
    inputs = Inputs(range(4), "running", CLIP)
    rows = rows_of(200)
    weight = torch.ones(200, 4)
    weight[100:, :2] = 0.0  # an agent that was dead in the second half
    weight[:, 3] = 0.0  # one that never lived
    spoilt = torch.where(weight > 0, rows, 1e6)
    inputs.update(inputs.sums(spoilt, weight))
    np.testing.assert_allclose(inputs.mean[:2], rows[:100, :2].double().mean(0), rtol=1e-5)
    assert inputs.count.tolist() == [100, 100, 200, 0]
    assert (inputs.mean[3], inputs.variance[3]) == (0.0, 1.0)


def test_a_column_that_never_changes_reads_zero():
    inputs = Inputs(range(4), "running", CLIP)
    rows = rows_of(64)
    rows[:, 1] = 255.0
    inputs.update(inputs.sums(rows, None))
    assert (inputs(rows)[:, 1] == 0).all()
    assert torch.isfinite(inputs(rows_of(64, seed=1))).all()

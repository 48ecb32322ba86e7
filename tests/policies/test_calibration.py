"""Temperature scaling finds the temperature, calibration error is its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from configs.errors import DataError
from policies.calibration import (
    expected_calibration_error,
    fit_confidence,
    fit_temperature,
    reliability,
)
from policies.readout import read_out
from signals.superposition import confidence as stated
from signals.superposition import directions

ROWS, CLASSES = 20_000, 4


def drawn(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and outcomes that follow softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(ROWS, CLASSES, generator=generator)
    p = torch.softmax(logits / temperature, 1)
    return logits, torch.multinomial(p, 1, generator=generator).squeeze(1)


def judged(logits: torch.Tensor, outcomes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    confidence, choice = torch.softmax(logits, 1).max(1)
    return confidence, choice == outcomes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_what_it_gives_is_calibrated(temperature: float):
    logits, outcomes = drawn(temperature)
    found = fit_temperature(logits, outcomes)
    assert found == pytest.approx(temperature, rel=0.05)
    after = expected_calibration_error(*judged(logits / found, outcomes))
    assert after < 0.015
    if temperature != 1.0:
        assert expected_calibration_error(*judged(logits, outcomes)) > 4 * after


def test_it_is_the_minimum_that_a_fine_grid_finds():
    logits, outcomes = drawn(1.7)
    logits, outcomes = logits[:300], outcomes[:300]
    grid = torch.linspace(math.log(0.5), math.log(5.0), 20_001, dtype=torch.float64).exp()
    losses = [
        torch.nn.functional.cross_entropy(logits.double() / t, outcomes).item() for t in grid[::20]
    ]
    coarse = grid[::20][int(np.argmin(losses))].item()
    assert fit_temperature(logits, outcomes) == pytest.approx(coarse, rel=3e-3)


def test_distributions_and_masks_count_as_they_should():
    logits, outcomes = drawn(2.0)
    soft = torch.nn.functional.one_hot(outcomes, CLASSES).float()
    assert fit_temperature(logits, soft) == pytest.approx(fit_temperature(logits, outcomes))
    target = torch.softmax(logits / 3.0, 1)
    assert fit_temperature(logits, target) == pytest.approx(3.0, rel=1e-4)
    # A forbidden column, whatever its logits, is not there.
    wide = torch.cat([logits, 50.0 * torch.ones(ROWS, 1)], 1)
    allowed = torch.ones(ROWS, CLASSES + 1, dtype=torch.bool)
    allowed[:, -1] = False
    expected = fit_temperature(logits, outcomes)
    assert fit_temperature(wide, outcomes, allowed) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_confidence_read_alone_is_fitted_to_how_often_it_is_right(temperature: float):
    generator = torch.Generator().manual_seed(1)
    logits = 3.0 * torch.randn(ROWS, 3, generator=generator)
    logits[: ROWS // 2, 1] = -math.inf  # what can never be chosen
    sure = torch.softmax(logits / temperature, 1).amax(1)
    correct = torch.rand(ROWS, generator=generator) < sure
    found = fit_confidence(logits, correct)
    assert found == pytest.approx(temperature, rel=0.06)
    cooled = torch.softmax(logits / found, 1).amax(1)
    assert expected_calibration_error(cooled, correct) < 0.015
    # The number that the cascade reads is the same.
    expected = stated(torch.softmax(logits.double(), 1).numpy(), found)
    torch.testing.assert_close(cooled.double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_whoever_is_certain_and_wrong_moves_no_temperature():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, -math.inf]])
    correct = torch.tensor([True, True, False, False])
    found = fit_confidence(logits, correct)
    assert torch.softmax(logits[:1] / found, 1).amax().item() == pytest.approx(2 / 3, abs=1e-6)
    assert found == pytest.approx(fit_confidence(logits[:3], correct[:3]))


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.85, 0.85, 0.1])
    correct = torch.tensor([True, True, False, False])
    # Bins of .1: |1 - .95| x 1 + |.5 - .85| x 2 + |0 - .1| x 1, over four rows.
    found = expected_calibration_error(confidence, correct, bins=10)
    assert found == pytest.approx((0.05 + 0.70 + 0.10) / 4)
    table = reliability(confidence, correct, bins=10)
    assert table.rows.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 2, 1]
    assert table.accuracy[8] == 0.5 and table.confidence[8] == pytest.approx(0.85)
    sure = torch.ones(3)
    assert expected_calibration_error(sure, torch.tensor([True] * 3)) == 0.0
    assert expected_calibration_error(sure, torch.tensor([False] * 3)) == 1.0


def test_what_cannot_be_calibrated_is_explained():
    logits, outcomes = drawn(1.0)
    with pytest.raises(DataError, match=r"shape \(0, 4\), expected finite"):
        fit_temperature(logits[:0], outcomes[:0])
    with pytest.raises(DataError, match="outcomes from 0 to 4: expected classes from 0 to 3"):
        fit_temperature(logits[:2], torch.tensor([0, 4]))
    with pytest.raises(DataError, match=r"outcomes of shape \(3,\) for logits of \(2, 4\)"):
        fit_temperature(logits[:2], outcomes[:3])
    forbidden = torch.ones(2, CLASSES, dtype=torch.bool)
    forbidden[0, outcomes[0]] = False
    with pytest.raises(DataError, match=r"outcome of row \d+: class \d came true"):
        fit_temperature(logits[:2], outcomes[:2], forbidden)
    with pytest.raises(DataError, match=r"shape \(2, 4\) with \(3,\) outcomes: expected \[N, C\]"):
        fit_confidence(logits[:2], outcomes[:3] == 0)
    with pytest.raises(DataError, match="logits of row 0: the largest is nan"):
        fit_confidence(torch.full((2, 3), math.nan), torch.tensor([True, False]))
    with pytest.raises(DataError, match="give probabilities, not logits"):
        expected_calibration_error(torch.tensor([1.2]), torch.tensor([True]))
    with pytest.raises(DataError, match="one of each for every row"):
        reliability(torch.tensor([0.2]), torch.tensor([True, False]))


def test_a_readout_is_the_layers_superposition_of_one_agent():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 5, generator=generator)
    moves = torch.tensor([0.1, -0.1, 0.0, -0.05, 0.05]) * torch.sign(logits[:, :1])
    found = read_out(logits, moves)
    p = torch.softmax(logits, -1)
    expected = directions(p.unsqueeze(1).numpy(), moves.numpy(), [1.0])
    np.testing.assert_allclose(found.direction.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(found.size, (p * moves.abs()).sum(1))
    torch.testing.assert_close(found.confidence, found.direction.max(1).values)
    cooler = read_out(logits, moves, temperature=0.1)
    assert (cooler.confidence > found.confidence).float().mean() > 0.7

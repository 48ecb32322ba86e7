"""What the layers above execution say in a running cascade is what training said, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.artefact import DIRECTION
from signals.said import (
    SAID,
    strategic_said,
    strategic_tactical_entanglement,
    tactical_said,
)
from signals.superposition import DIRECTIONS
from tests.cascade.test_engine import Run

_CONFIDENCE = SAID.index("confidence")
_ROUNDING = 1e-9


def _tempered(run: Run, layer: str, temperature: float) -> Any:
    policy = run.models.active[layer].policy
    policy.manifest = policy.manifest.model_copy(update={"temperatures": {DIRECTION: temperature}})
    return policy


def _rows(model: Any, count: int) -> Any:
    """Rows in which everything may be chosen, [count, row width]."""
    rng = np.random.default_rng(3)
    rows = rng.uniform(-1.0, 1.0, (count, model.layout.row_width)).astype(np.float32)
    for agent in range(len(model.layout.agents)):
        rows[:, model.layout.mask_indices(agent)] = 1.0
    place = {column.name: index for index, column in enumerate(model.layout.columns)}
    if "allowed" in place:
        rows[:, place["allowed"]] = 1.0
    return rows


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_what_layers_say_is_what_training_says(tmp_path: Path, temperature: float) -> None:
    run = Run(tmp_path, "strategic", "tactical", "execution")
    upper = run.engine.upper
    above, below = (run.models.active[layer] for layer in ("strategic", "tactical"))
    frozen_above = _tempered(run, "strategic", temperature)
    frozen_below = _tempered(run, "tactical", temperature)
    slow, fast = upper.slow, upper.fast
    assert slow is not None
    assert fast is not None
    bound, tempers = 0, 0
    for upper_row, row in zip(_rows(above, 40), _rows(below, 40), strict=True):
        above.row[:] = upper_row
        upper._ask_strategic()
        told = frozen_above.decide(upper_row[None])
        said = strategic_said(
            upper_row[None], told.actions, told.probabilities, slow.rules, temperature
        )
        np.testing.assert_array_equal(upper._answer, said[0])
        tempers += abs(said[0, _CONFIDENCE] - said[0, : len(DIRECTIONS)].max()) > _ROUNDING
        upper._strategic[:-1] = upper._answer
        below.row[:] = row
        upper._ask_tactical()
        told = frozen_below.decide(row[None])
        words = tactical_said(row[None], told.actions, told.probabilities, fast.rules, temperature)
        np.testing.assert_array_equal(upper._answer, words[0])
        entangled = strategic_tactical_entanglement(
            lambda asked: frozen_below.decide(asked).probabilities,
            said[:, : len(DIRECTIONS)], said[:, _CONFIDENCE], row[None], fast.rules,
        )  # fmt: skip
        assert upper._entanglement == entangled[0]
        bound += entangled[0] > 0.0
    # A low temperature makes the layer above sure of what it says, a high one doubt it.
    assert tempers == 0 if temperature == 1.0 else tempers >= 5
    assert bound >= 3 if temperature < 1.0 else bound <= 2

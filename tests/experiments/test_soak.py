"""The soak: faults come, nothing breaks, and what breaks is told."""

from __future__ import annotations

import pytest

from experiments import soak
from experiments.soak import Faults


@pytest.mark.slow
def test_a_short_soak_holds() -> None:
    found = soak.soak(1_500, seed=3, session_steps=1_500)
    assert found.steps >= 1_400
    assert not found.problems
    assert found.orders > 0
    assert len(found.faults) > 4


def test_faults_are_the_same_again_and_last() -> None:
    drawn = []
    for _ in range(2):
        faults = Faults(5)
        drawn.append([faults.now("bar", 0.1, "nan", "again") for _ in range(500)])
    assert drawn[0] == drawn[1]
    kinds = set(drawn[0])
    assert kinds == {None, "nan", "again"}
    assert any(a is not None and a == b for a, b in zip(drawn[0], drawn[0][1:], strict=False))

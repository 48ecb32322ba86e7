"""A service gets ready though its layers fail at first, as where a call compiles kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.serve.desk import Desk
from tests.cascade.test_engine import Run


@pytest.mark.parametrize(("failing", "ready"), [(0, True), (4, True), (1_000, False)])
def test_layers_that_fail_at_first_are_asked_again(
    tmp_path: Path, failing: int, ready: bool
) -> None:
    run = Run(tmp_path)
    tactical, left = run.models.active["tactical"], [failing]
    ask = tactical.ask

    def late() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("late")
        ask()

    tactical.ask = late
    desk = Desk("x", run.session)
    desk.warm_up()
    assert run.engine.upper.decisions > 0
    assert (not desk.reasons) == ready
    assert not desk.ended  # a layer that never answers does not use the bars up

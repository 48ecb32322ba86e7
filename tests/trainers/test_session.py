"""Ray on a machine that is too busy to start it in time."""

from __future__ import annotations

from typing import Any

import pytest
import ray
import structlog

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from trainers.session import ray_session

SLOW = "The current node timed out during startup. This could happen because"


class Starts:
    """In place of `ray.init`: fails as it was told to, and counts."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.options: list[dict[str, Any]] = []

    def __call__(self, **options: Any) -> None:
        self.options.append(options)
        if self.failures:
            raise Exception(self.failures.pop(0))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ray.is_initialized()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(SLOW, SLOW)
    monkeypatch.setattr(ray, "init", starts)
    with structlog.testing.capture_logs() as said, ray_session(MappoConfig(runners=2, learners=1)):
        pass
    assert [entry["attempt"] for entry in said] == [1, 2]
    assert len(starts.options) == 3
    assert all(each["address"] == "local" and each["num_cpus"] == 3 for each in starts.options)


def test_what_never_starts_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", Starts(*[SLOW] * 9))
    message = r"did not start .* in 3 tries .*mappo\.ray_address"
    with pytest.raises(TrainingError, match=message), ray_session(MappoConfig()):
        pass


def test_any_other_failure_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts("no space left on device")
    monkeypatch.setattr(ray, "init", starts)
    with pytest.raises(Exception, match="no space left"), ray_session(MappoConfig()):
        pass
    assert len(starts.options) == 1

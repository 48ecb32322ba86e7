"""What the tests of faults share: one call of `train`, how it ended, and whether it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import GrandmodelError
from configs.mappo import MappoConfig
from tests.trainers.test_train import curve, tiny
from trainers.mappo import checkpoint as checkpoints
from trainers.mappo.checkpoint import latest_checkpoint, load_actors, load_checkpoint
from trainers.train import IterationReport, TrainResult, train

MAKE = "tests.trainers.faulty_env:make"
FIRST = 3  # the iteration in which things go wrong, where a test does not say another
STEPS = 16  # of an environment per iteration, after `STAGGER` of them
STAGGER = 6


def settings(iterations: int = 4, **changes: object) -> MappoConfig:
    """A tiny run that keeps a checkpoint of every iteration."""
    return tiny(iterations, checkpoint_every=1, **changes)


def step_of(iteration: int) -> int:
    """A step of the environment in the middle of this iteration's sampling."""
    return STAGGER + (iteration - 1) * STEPS + STEPS // 2


class Sitting:
    """One call of `train`: the reports it gave and how it ended."""

    def __init__(
        self,
        output: Path,
        config: MappoConfig,
        kwargs: dict[str, Any] | None = None,
        make: str = MAKE,
        resume: bool = False,
        then: Callable[[IterationReport], None] = lambda report: None,
    ) -> None:
        self.reports: list[IterationReport] = []
        self.result: TrainResult | None = None
        self.error: BaseException | None = None

        def seen(report: IterationReport) -> None:
            self.reports.append(report)
            then(report)

        try:
            self.result = train(config, make, kwargs or {}, output, resume, seen)
        except (GrandmodelError, KeyboardInterrupt, RuntimeError) as error:
            self.error = error


def check_resumed(output: Path, whole: Path, config: MappoConfig, make: str = MAKE) -> None:
    """The run in `output` goes on from its last good checkpoint as one without a fault."""
    kept = latest_checkpoint(output)
    assert kept is not None
    done = load_checkpoint(kept)[0].iteration
    load_actors(kept)
    hidden = [path.name for path in kept.parent.iterdir() if path.name.startswith(".")]
    assert hidden == []
    rest = Sitting(output, config, make=make, resume=True)
    expected = Sitting(whole, config, make=make)
    assert rest.error is None and expected.error is None
    assert 0 < len(rest.reports) < len(expected.reports)
    assert curve(rest.reports) == curve(expected.reports)[done:]
    mine, its = (found.result.policy.state_dict() for found in (rest, expected))  # type: ignore[union-attr]
    assert all(torch.equal(mine[name], its[name]) for name in its)


def command(tmp_path: Path, env: str, *overrides: str) -> list[str]:
    """A tiny `train` of anyone's environment, without a tracking store."""
    tiny_run = (
        "mappo.num_envs=4",
        "mappo.rollout_length=8",
        "mappo.minibatches=2",
        "mappo.epochs=1",
        "mappo.policy.hidden=[8]",
        "mappo.critic.hidden=[8]",
        "mappo.checkpoint_every=1",
        "play.episodes=4",
        "play.num_envs=4",
        "play.bootstrap_samples=100",
        "tracking.enabled=false",
    )
    settings = [*tiny_run, "mappo.stop={iterations: 2}", *overrides]
    words = [word for text in settings for word in ("--set", text)]
    return ["train", env, "--output", str(tmp_path / "run"), *words]


# ---------------------------------------------------------------- states that cannot be saved


def write_of(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[..., None], file: str = "actors.pkl"
) -> None:
    """Call `act` when this file of the checkpoint `name` is about to be written."""
    original = checkpoints._write

    def write(path: Path, content: bytes) -> None:
        if path.name == file and name in path.parent.name:
            act()
        original(path, content)

    monkeypatch.setattr(checkpoints, "_write", write)

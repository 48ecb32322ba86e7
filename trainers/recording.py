"""What every training keeps of its iterations: rows in the run's folder, and the tracking store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from configs.loading import dump_yaml
from trainers.provenance import Commit, versions
from trainers.runs import RunConfig, RunFolder
from trainers.tracking import Run
from trainers.train import IterationReport


class RunRecorder:
    """Keeps the figures of each iteration, in the run's folder and in the store if there is one."""

    def __init__(self, folder: RunFolder, tracking: Run | None = None) -> None:
        self._folder = folder
        self._tracking = tracking
        self._began = False

    def keep(self, report: IterationReport, more: Mapping[str, float] | None = None) -> None:
        """Write down the report's figures and what else was measured of the iteration.

        Raises:
            TrainingError: the folder cannot be written.
        """
        if not self._began:  # a resume goes on from its checkpoint, not from the last one seen
            self._folder.forget_after(report.iteration - 1)
            self._began = True
        figures = iteration_figures(report) | dict(more or {})
        self._folder.record(figures)
        if self._tracking is not None:
            self._tracking.log(figures, report.iteration)


def iteration_figures(report: IterationReport) -> dict[str, float]:
    """One iteration as flat figures: what was measured in it, by name."""
    figures: dict[str, float] = {
        "iteration": float(report.iteration),
        "env_steps": float(report.env_steps),
        "steps_per_s": report.steps_per_s,
        "minutes": report.minutes,
        "peak_rss_bytes": float(report.peak_rss_bytes),
    }
    figures.update({f"seconds_{name}": value for name, value in report.seconds.items()})
    figures.update(report.metrics)
    figures.update(report.rewards)
    figures.update(report.losses)
    figures.update(report.curriculum)
    figures.update(report.watched)
    figures.update(report.constraints)
    return figures


@contextlib.contextmanager
def tracked(
    config: RunConfig, folder: RunFolder, made: Commit, tags: Mapping[str, str]
) -> Iterator[Run | None]:
    """The run in the tracking store while it goes on; None where tracking is off.

    tags: what is said of the run besides its seed, commit and versions.

    Raises:
        TrackingError: the store cannot be reached or opened.
    """
    if not config.tracking.enabled:
        yield None
        return
    common = {
        "seed": str(config.seed),
        "commit": made.name,
        "dirty": str(made.dirty).lower(),
        **{f"version.{name}": text for name, text in versions().items()},
    }
    with Run(
        config.tracking,
        name=folder.path.name,
        params=config.model_dump(mode="json"),
        tags={**tags, **common},
        resume=folder.tracking_run,
    ) as run:
        run.log_text(dump_yaml(config), "config.yaml")
        yield run

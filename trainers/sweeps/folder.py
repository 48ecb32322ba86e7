"""The folder of a sweep: its settings, its study's file, its trials' runs and its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs.loading import dump_yaml
from configs.sweep import SweepConfig
from configs.train import LayerTraining
from trainers.report import replace
from trainers.work_folder import WorkFolder


@dataclass
class SweepFolder(WorkFolder):
    """One sweep on disk."""

    family = "sweep"
    what = "sweep"
    file = "state.json"

    @property
    def base(self) -> Path:
        """The configuration that trials are laid over."""
        return self.path / "config.yaml"

    @property
    def sweep(self) -> Path:
        """What is searched."""
        return self.path / "sweep.yaml"

    @property
    def trials(self) -> Path:
        """Where trials leave their runs."""
        return self.path / "trials"

    @property
    def storage(self) -> str:
        """The study's own file, where no other storage is given."""
        return f"sqlite:///{(self.path / 'study.db').resolve()}"

    def begin(self, config: LayerTraining, sweep: SweepConfig) -> None:
        """Write down what is to be searched."""
        self.finished = False
        replace(self.base, dump_yaml(config).encode())
        replace(self.sweep, dump_yaml(sweep).encode())
        self.save()

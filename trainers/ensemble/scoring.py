"""Ensembles scored on validation episodes, the same ones for every candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.markup import escape
from rich.table import Table

from configs.evaluation import EvaluationConfig
from configs.splits import Split
from trainers import held_out
from trainers.ensemble.members import By, Member, combined
from trainers.ensemble.selection import Counts, Selection, alone, lowest
from trainers.layers import LAYERS
from trainers.objective import Objective
from trainers.statistics import MeanResult, PairedResult, mean_interval, paired
from trainers.torch_actor import TorchActor

SPLIT: Split = "validation"


class Scores:
    """The objective's mean of members and their averages, each played once.

    told: of the episodes; see `trainers.held_out.validation`.
    """

    def __init__(self, members: Sequence[Member], by: By, told: EvaluationConfig) -> None:
        self.members = list(members)
        self.by: By = by
        self.told = told
        self._played: dict[Counts, NDArray[np.float64]] = {}
        self._clusters: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def objective(self) -> Objective:
        return LAYERS[self.members[0].run.config.layer].objective

    @property
    def episodes(self) -> int:
        return len(self._clusters)

    def __call__(self, candidates: Sequence[Counts]) -> list[float]:
        """The mean of each over the validation episodes."""
        new = [counts for counts in map(lowest, candidates) if counts not in self._played]
        if new:
            run = self.members[0].run
            actors = {
                str(number): TorchActor(combined(self.members, counts, self.by))
                for number, counts in enumerate(new)
            }
            match = held_out.play(run.config, run.env, actors, self.told, SPLIT)
            for number, counts in enumerate(new):
                self._played[counts] = match.objectives(str(number))
            self._clusters = match.clusters
        return [float(self._played[lowest(counts)].mean()) for counts in candidates]

    def interval(self, counts: Counts) -> MeanResult:
        """The mean of one that was scored, and its interval."""
        return mean_interval(
            self._played[lowest(counts)],
            clusters=self._clusters,
            confidence=self.told.confidence,
            samples=self.told.bootstrap_samples,
            seed=self.told.seed,
        )

    def paired(self, one: Counts, other: Counts) -> PairedResult:
        """One minus another on the same episodes, both scored."""
        return paired(
            self._played[lowest(one)],
            self._played[lowest(other)],
            clusters=self._clusters,
            confidence=self.told.confidence,
            samples=self.told.bootstrap_samples,
            seed=self.told.seed,
        )

    def table(self, chosen: Selection) -> Table:
        """Each member and the ensemble, for people."""
        told = self.objective
        shown = Table(
            title=(
                f"{self.episodes} validation {told.episodes} each, average of {self.by}, "
                f"{self.told.confidence:.0%} intervals, {told.unit}"
            ),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        shown.add_column("policy", no_wrap=True)
        shown.add_column("share", justify="right")
        shown.add_column(told.header, justify="right", no_wrap=True)
        total = sum(chosen.counts)
        for member, counts, count in zip(
            self.members, alone(len(self.members)), chosen.counts, strict=True
        ):
            shown.add_row(escape(member.name), f"{count / total:.0%}", self._cell(counts))
        shown.add_row("ensemble <-", "", self._cell(chosen.counts))
        return shown

    def _cell(self, counts: Counts) -> str:
        found = self.interval(counts)
        return f"{found.mean:.3f} " + escape(f"[{found.low:.3f}, {found.high:.3f}]")

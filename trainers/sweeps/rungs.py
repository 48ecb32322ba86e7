"""Which trials go on to the next budget: the best by Pareto rank, then the loneliest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

Floats = NDArray[np.float64]


def promoted(study: Study, factor: float) -> list[FrozenTrial]:
    """The best `1/factor` of the finished trials, at least one, best first."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return []
    losses = as_losses(study, done)
    order = best_first(losses)
    return [done[k] for k in order[: math.ceil(len(done) / factor)]]


def as_losses(study: Study, trials: list[FrozenTrial]) -> Floats:
    """Values [trials, goals], lower being better."""
    signs = [1.0 if d == StudyDirection.MINIMIZE else -1.0 for d in study.directions]
    return np.array([trial.values for trial in trials], dtype=np.float64) * signs


def best_first(losses: Floats) -> list[int]:
    """Rows of `losses` [n, goals] by Pareto rank and, within one, by crowding distance.

    Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm:
    NSGA-II" (2002). Of equals the earlier comes first.
    """
    if losses.shape[1] == 1:
        return [int(k) for k in np.argsort(losses[:, 0], kind="stable")]
    left = np.arange(len(losses))
    order: list[int] = []
    while left.size:
        front = left[pareto(losses[left])]
        distance = _crowding(losses[front])
        order += [int(front[k]) for k in np.argsort(-distance, kind="stable")]
        left = np.setdiff1d(left, front)
    return order


def pareto(losses: Floats) -> NDArray[np.bool_]:
    """Bool [n]: rows that no other is at least as good as in all goals and better in one."""
    other, one = losses[None, :, :], losses[:, None, :]
    dominated = (other <= one).all(axis=2) & (other < one).any(axis=2)
    beaten: NDArray[np.bool_] = np.logical_or.reduce(dominated, axis=1)
    return ~beaten


def _crowding(losses: Floats) -> Floats:
    """The distance of each row's neighbours along the goals, as shares of their ranges."""
    distance = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        sorted_values, span = column[order], np.ptp(column)
        distance[order[[0, -1]]] = np.inf
        if span > 0 and len(losses) > 2:
            distance[order[1:-1]] += (sorted_values[2:] - sorted_values[:-2]) / span
    return distance

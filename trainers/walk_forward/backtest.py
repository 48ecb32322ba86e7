"""A walk's out-of-sample bars, each once, in order of time: what the retrained layer earned.

Of layers that trade bar by bar. Where several folds hold a bar out, as combinatorial ones do,
its return is the mean of theirs: that of an account shared evenly between their policies.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from configs.barwise import LayerConfig
from configs.errors import TrainingError
from configs.train import LayerTraining
from envs.barwise.batched import BatchedBars
from trainers.evaluate import Actor
from trainers.evaluation.bars import play_bars
from trainers.evaluation.findings import Findings, Judged, of_returns
from trainers.evaluation.intervals import LEAST_PERIODS
from trainers.evaluation.trials import trials_behind
from trainers.layers import LAYERS
from trainers.report import replace
from trainers.session import torch_threads

BARS_FILE = "bars.npz"
_NUMBER, _DAY, _RETURNS = "number", "day", "returns."


@dataclass(frozen=True)
class Played:
    """Returns of bars in order of time.

    Attributes:
        number: int64 [n], in the data set; day: int64 [n], since 1970 UTC.
        returns: policy -> float64 [n], of the account, fraction, net of costs.
    """

    number: NDArray[np.int64]
    day: NDArray[np.int64]
    returns: dict[str, NDArray[np.float64]]


def play_fold(config: LayerTraining, env: Any, policies: Mapping[str, Actor], path: Path) -> None:
    """Play every out-of-sample bar of a fold by every policy, and keep it in `path`.

    config, env: of the fold. A layer that trades no bars keeps nothing.

    Raises:
        TrainingError: an account is lost.
    """
    if not isinstance(config.env, LayerConfig):
        return
    layer = LAYERS[config.layer]

    def make(count: int) -> BatchedBars:
        return cast(BatchedBars, layer.judging_env(count, config.seed, env, "validation"))

    with torch_threads(config.mappo.torch_threads):
        found = play_bars(make, policies, seed=config.evaluation.seed)
    told = {f"{_RETURNS}{name}": track.returns for name, track in found.tracks.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **{_NUMBER: found.number, _DAY: found.day, **told})  # type: ignore[arg-type]
    replace(path / BARS_FILE, content.getvalue())


def kept_bars(path: Path) -> Played:
    """What `play_fold` kept.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        with np.load(path / BARS_FILE) as file:
            found = {name: file[name] for name in file.files}
        number, day = found.pop(_NUMBER), found.pop(_DAY)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{path / BARS_FILE} cannot be read ({error}): remove {path} to train the fold anew"
        ) from error
    return Played(number, day, {name.removeprefix(_RETURNS): of for name, of in found.items()})


def chained(folds: Sequence[Played]) -> Played:
    """The bars of all folds, each once."""
    every = np.concatenate([fold.number for fold in folds])
    number, first, places = np.unique(every, return_index=True, return_inverse=True)
    counts = np.bincount(places)
    returns = {
        name: np.bincount(places, np.concatenate([fold.returns[name] for fold in folds])) / counts
        for name in folds[0].returns
    }
    return Played(number, np.concatenate([fold.day for fold in folds])[first], returns)


def judged(config: LayerTraining, bars: Played) -> Findings | None:
    """Sharpe ratio, drawdown, DSR, PBO and the like, the policy among the baselines.

    None of fewer bars than intervals take.
    """
    if len(bars.number) < LEAST_PERIODS:
        return None
    trials, how = 1, "The settings are judged as the only ones that were tried."
    if config.chosen_from is not None:
        trials, how = trials_behind(config.chosen_from)
    told = config.evaluation
    notes = (
        "Every out-of-sample bar once, in order of time: each fold's by the policy that was "
        "trained for it, in episodes that begin flat and end in liquidation; of several folds "
        "that hold a bar out, the mean.",
        how,
    )
    by = Judged(trials, told.confidence, told.seed, notes)
    return of_returns(bars.day, bars.returns, config.layer, by)


def in_words(found: Findings) -> str:
    """DSR and PBO, for people."""
    assert found.alone is not None  # of bars it is told
    pbo = "" if found.pbo is None else f"; PBO among policy and baselines {found.pbo.pbo:.2f}"
    return f"the policy's own returns: {found.alone}{pbo}"

"""Which dates a training uses, so that no layer learns under one that has seen them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cascade.artefact import Manifest, TrainedOn
from configs.barwise import LayerConfig, SeriesConfig
from configs.errors import ArtefactError
from configs.execution import ExecutionConfig
from configs.market import BarReference, Reference
from configs.splits import Split
from configs.strategic import StrategicConfig
from envs.barwise.data import slow_rows
from envs.barwise.fast import fast_rows
from market.bars import load_bars
from market.splits import SplitRange, split_range

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_US = 1000


def trained_on(config: Any) -> TrainedOn | None:
    """What the training split of an environment's configuration holds; None where no bars.

    Raises:
        DataError: the bars cannot be read, or the split is empty.
    """
    return dates_of(config, "train")


def dates_of(config: Any, split: Split) -> TrainedOn | None:
    """What a split of an environment's configuration holds; None where no bars.

    Raises:
        DataError: the bars cannot be read, or the split is empty.
    """
    if isinstance(config, ExecutionConfig):
        return _of_execution(config, split)
    told: LayerConfig = config
    find = slow_rows if isinstance(told, StrategicConfig) else fast_rows
    return dates(told.market.reference, told.series, *find(told, split))


def dates(
    reference: Reference, series: SeriesConfig, rows: SplitRange, fingerprint: str
) -> TrainedOn:
    """The dates of a split's bars."""
    real = isinstance(reference, BarReference)
    return TrainedOn(
        kind="bars" if real else "generated",
        begins=_stamp(rows.begins),
        ends=_stamp(rows.ends),
        fingerprint=fingerprint,
        seed=None if real else series.seed,
    )


def refuse_seen(manifest: Manifest, where: str, split: Split, mine: TrainedOn) -> None:
    """Refuse an artefact that was trained on dates that a split of this run holds.

    In training its decisions would look better than they are, and in evaluation they would lift
    the result.

    Raises:
        ArtefactError: it was, or does not say what it was trained on.
    """
    seen = manifest.trained_on
    if seen is None:
        raise ArtefactError(
            f"{where} does not say which bars it was trained on; expected their dates in its "
            f"manifest; train it again with `grandmodel train {manifest.layer}`"
        )
    if not seen.overlaps(mine):
        return
    remedy = (
        "train one of the two with another seed of the bars (env.series.seed)"
        if mine.seed is not None
        else "train both on folds apart (env.market.reference.fold and walk_forward, of kind "
        "rolling)"
    )
    raise ArtefactError(
        f"{where} was trained on {seen}, and the {split} split of this run is {mine}: expected "
        f"dates that it has not seen; {remedy}, as `grandmodel train cascade` does"
    )


def _of_execution(config: ExecutionConfig, split: Split) -> TrainedOn | None:
    reference, series = config.market.reference, config.upstream.series
    if config.upstream.loaded:
        from trainers.upstream.frozen import tactical_under  # it asks for dates itself

        return dates(reference, series, *fast_rows(tactical_under(config).config, split))
    if not isinstance(reference, BarReference):
        return None
    bars, past = load_bars(reference.bars), reference.activity_bars
    rows = split_range(split, len(bars), bars.start, reference, warmup=past, source=bars.source)
    return dates(reference, series, rows, bars.fingerprint)


def _stamp(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // _NS_PER_US)

"""Order messages of a real market from a file: read, judged row by row, and as a whole.

The steps, in order: read the cells; judge each row's values; judge the order of
time; follow every order from its first message to its last. `on_bad: error` refuses
a file with a bad row and says which; `drop` leaves bad rows out and counts them.
Messages that name an order from before the file's start are no fault of a LOBSTER
file: they are counted apart, kept as trades where they are executions, and never
touch the book.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.messages import LOBSTER_PRICE_UNIT, MessagesConfig
from market.message_checks import judge_order, judge_values
from market.message_lives import UNKNOWN_REASONS, Lives, follow
from market.message_table import ADD, BadMessages, MessageTable

_LOG = logging.getLogger(__name__)
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class MessagesReport:
    """What became of a file's rows. `read` = `kept` + the sum of `dropped`.

    Attributes:
        read: data rows of the file.
        kept: rows that are messages, `rejected` ones included.
        dropped: bad rows left out, by reason.
        rejected: rows that the book does not take, by reason: the file's convention
            allows them.
        noted: rows that were taken although a detail differs, by reason.
    """

    read: int
    kept: int
    dropped: dict[str, int]
    rejected: dict[str, int]
    noted: dict[str, int]


@dataclass(frozen=True)
class Messages:
    """Order messages in order of time; the arrays are read-only, of one length n.

    Attributes:
        time: int64 [n], ns in the file's clock (LOBSTER: since midnight), never falling.
        kind: int8 [n], ADD to HALT.
        order: int32 [n], index into `ids`; -1 for hidden executions, crosses and halts.
        known: bool [n], an add, or a message whose order was added before and is open.
        size: int32 [n]; of a halt -1 (halted), 0 (quoting resumes) or 1 (trading resumes).
        price: float64 [n], ticks, whole where an order of the book is meant.
        side: int8 [n], of the resting order.
        lines: int64 [n], line of the file.
        ids: int64 [orders], the file's order ids, ascending.
        peak: most orders open at once.
        tick: currency.
        source, fingerprint: path as configured, SHA-256 of the content.
        max_levels: prices that a ladder may have.
        report: what became of the rows.
    """

    time: NDArray[np.int64]
    kind: NDArray[np.int8]
    order: NDArray[np.int32]
    known: NDArray[np.bool_]
    size: NDArray[np.int32]
    price: NDArray[np.float64]
    side: NDArray[np.int8]
    lines: NDArray[np.int64]
    ids: NDArray[np.int64]
    peak: int
    tick: float
    source: str
    fingerprint: str
    max_levels: int
    report: MessagesReport

    def __len__(self) -> int:
        return len(self.time)

    @property
    def seconds(self) -> float:
        """Span from the first message to the last."""
        return float(self.time[-1] - self.time[0]) * 1e-9


def load_messages(config: MessagesConfig) -> Messages:
    """Load the messages that `config` describes.

    Raises:
        DataError: the file cannot be read, rows of it are bad (with `on_bad: error`),
            or no message is left.
    """
    bad = BadMessages(str(config.path))
    table, fingerprint = _read(config, bad)
    default = LOBSTER_PRICE_UNIT if table.lobster else 1.0
    ticks_per_unit = (config.price_unit or default) / config.tick
    rows = judge_values(table, ticks_per_unit, bad)
    rows = judge_order(rows, bad)
    lives = follow(rows)
    strict = config.unknown_ids == "error" or (config.unknown_ids is None and not table.lobster)
    rejected = BadMessages(bad.name, bad.unit)
    for reason, places in lives.bad.items():
        counts = rejected if reason in UNKNOWN_REASONS and not strict else bad
        counts.add_many(reason, rows.lines[places], (f"id {i}" for i in rows.order[places]))
    if bad.total and config.on_bad == "error":
        raise bad.error(table.read)
    kept = lives.kept(strict)
    if not kept.any():
        raise DataError(
            f"{bad.name}: no message is left of {table.read} rows ({bad.total} bad): expected at"
            " least one; check the file and the messages' configuration"
        )
    _log(bad, rejected)
    return Messages(
        **_columns(rows, lives, kept),
        ids=lives.ids,
        peak=lives.peak,
        tick=config.tick,
        source=bad.name,
        fingerprint=fingerprint,
        max_levels=config.max_ladder_levels,
        report=MessagesReport(
            table.read, int(kept.sum()), dict(bad.counts), dict(rejected.counts), lives.noted
        ),
    )


def _log(bad: BadMessages, rejected: BadMessages) -> None:
    for reason in bad.counts:
        _LOG.warning("%s: left out %s", bad.name, bad.lines_of(reason))
    for reason in rejected.counts:
        _LOG.info("%s: not for the book: %s", bad.name, rejected.lines_of(reason))


def _columns(rows: MessageTable, lives: Lives, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """The columns of `Messages` for the rows that stay, read-only."""
    columns: dict[str, NDArray[Any]] = {
        "time": rows.time,
        "kind": rows.kind,
        "order": lives.index,
        "known": lives.known,
        "size": rows.size.astype(np.int32),
        "price": rows.price,
        "side": rows.side,
        "lines": rows.lines,
    }
    columns = {name: np.ascontiguousarray(values[kept]) for name, values in columns.items()}
    for column in columns.values():
        column.flags.writeable = False
    return columns


def _read(config: MessagesConfig, bad: BadMessages) -> tuple[MessageTable, str]:
    from market.message_text import read_text

    path = config.path
    try:
        if not path.exists():
            raise DataError(
                f"{path} does not exist: expected a CSV or Parquet file of messages; check the path"
            )
        if not path.is_file():
            raise DataError(f"{path} is no regular file: name a CSV or Parquet file")
        with path.open("rb") as file:
            parquet = file.read(len(_PARQUET)) == _PARQUET
        if not parquet and path.suffix.lower() in (".parquet", ".pq"):
            raise DataError(f"{path} does not begin as Parquet does: write or fetch it again")
        if parquet:
            # pyarrow takes a while to import, which only Parquet should cost.
            from market.message_parquet import read_parquet

            table, fingerprint = read_parquet(path, config, bad)
        else:
            table, fingerprint = read_text(path, config, bad)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read ({reason}): check the path and its rights"
        ) from None
    if not table.read:
        raise DataError(f"{path} holds a header and no message: expected at least one row")
    return table, fingerprint


def share_of_rising_ids(messages: Messages) -> float:
    """Share of adds whose id exceeds that of the add before: 1 where ids tell arrival."""
    ids = messages.ids[messages.order[messages.kind == ADD]]
    return float((np.diff(ids) > 0).mean()) if len(ids) > 1 else 1.0

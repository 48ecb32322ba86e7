"""The best quotes of a replay held against the truth, change by change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from market.bar_table import cut
from market.message_text import whole
from market.messages import Messages
from market.text_lines import text_lines

_PER_LEVEL = 4  # ask price, ask quantity, bid price, bid quantity, as LOBSTER orders them
_EMPTY_PRICE = 9_999_999_999  # LOBSTER's ask price, or less its bid price, of an empty level
_MAX_LINE_BYTES = 1 << 14

PRICES = (0, 2)
PRICES_AND_QUANTITIES = (0, 1, 2, 3)


@dataclass(frozen=True)
class QuoteMatch:
    """Changes of the best quotes in the truth, and how many the replay makes too.

    A change matches where the replay makes it at the same message, to the same
    values; those that match are therefore in order. Every other change of the truth
    is in one of three classes.

    Attributes:
        changes: in the truth.
        replayed: in the replay.
        matched: changes of the truth that the replay makes.
        unseen: the truth's quote is better: an order stands there that the replay
            never saw added.
        stale: the replay's quote is better: an order whose end it never saw.
        other: the prices are equal: a quantity differs, or the replay stood there before.
        rows_equal: share of all messages after which the quotes are equal.
    """

    changes: int
    replayed: int
    matched: int
    unseen: int
    stale: int
    other: int
    rows_equal: float

    @property
    def share(self) -> float:
        """Matched changes of all; 1 where there is none."""
        return self.matched / self.changes if self.changes else 1.0


def match_quotes(
    truth: NDArray[np.int64], replay: NDArray[np.int64], columns: tuple[int, ...]
) -> QuoteMatch:
    """Compare quotes [n, 4] (bid, its quantity, ask, its quantity; 0 where empty)."""
    true, made = truth[:, columns], replay[:, columns]
    changed, also = _changes(true), _changes(made)
    equal = (true == made).all(axis=1)
    missed = changed & ~(also & equal)
    # An empty side is worse than any price.
    bids = np.stack([truth[:, 0], replay[:, 0]])
    asks = np.stack([truth[:, 2], replay[:, 2]])
    asks = np.where(asks == 0, np.iinfo(np.int64).max, asks)
    stale = missed & ((bids[1] > bids[0]) | (asks[1] < asks[0]))
    unseen = missed & ~stale & ((bids[1] < bids[0]) | (asks[1] > asks[0]))
    return QuoteMatch(
        changes=int(changed.sum()),
        replayed=int(also.sum()),
        matched=int((changed & also & equal).sum()),
        unseen=int(unseen.sum()),
        stale=int(stale.sum()),
        other=int((missed & ~stale & ~unseen).sum()),
        rows_equal=float(equal.mean()),
    )


def _changes(quotes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows differ from the row before; the first from an empty book."""
    before = np.vstack([np.zeros((1, quotes.shape[1]), np.int64), quotes[:-1]])
    return np.asarray((quotes != before).any(axis=1), dtype=np.bool_)


def read_orderbook(path: Path, messages: Messages, unit: float) -> NDArray[np.int64]:
    """int64 [n, levels, 4] of LOBSTER's order book file: ask, quantity, bid, quantity.

    Prices in ticks, 0 where a level is empty. One line for every line of messages.

    Args:
        unit: currency per unit of the file's prices.

    Raises:
        DataError: it cannot be read, or is not the book of these messages.
    """
    try:
        with path.open("rb") as file:
            rows = _integers(file, str(path), messages.report.read)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path") from None
    if len(rows) != messages.report.read or messages.lines[-1] > len(rows):
        raise DataError(
            f"{path} has {len(rows)} rows, {messages.source} has {messages.report.read}: expected"
            " the order book file that belongs to these messages, row by row"
        )
    book = rows[messages.lines - 1].reshape(len(messages), -1, _PER_LEVEL)
    prices = book[:, :, ::2]
    empty = (book[:, :, 1::2] == 0) | (np.abs(prices) == _EMPTY_PRICE)
    ticks = np.round(prices * (unit / messages.tick)).astype(np.int64)
    book[:, :, ::2] = np.where(empty, 0, ticks)
    book[:, :, 1::2][empty] = 0
    return book


def _integers(file: BinaryIO, name: str, most: int) -> NDArray[np.int64]:
    """The whole numbers of a text file [rows, columns]."""
    rows: list[list[int]] = []
    lines = text_lines(file, _MAX_LINE_BYTES, name, hashlib.sha256(), "book")
    for number, text, _ in lines:
        cells = [whole(cell) for cell in text.split(",")]
        width = len(rows[0]) if rows else len(cells)
        if len(cells) != width or len(cells) % _PER_LEVEL or None in cells:
            raise DataError(
                f"{name}:{number} is {cut(text)}: expected {width} whole numbers, ask price, ask"
                " quantity, bid price and bid quantity of each level"
            )
        rows.append([cell for cell in cells if cell is not None])
        if len(rows) > most:
            break
    width = len(rows[0]) if rows else _PER_LEVEL
    return np.array(rows, np.int64).reshape(-1, width)


def quotes_of_book(book: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [n, 4]: bid, bid quantity, ask, ask quantity of an order book's first level."""
    return book[:, 0, [2, 3, 0, 1]]

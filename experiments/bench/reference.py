"""The speed of the Python book: what the speeds of a run are held against."""

from __future__ import annotations

from experiments.bench.timing import cpu_seconds
from experiments.reference_book import ReferenceBook
from experiments.streams import message_stream

LEVELS = 1024


def reference_messages_per_s(messages: int, seed: int, levels: int = LEVELS) -> float:
    """Messages a CPU second that the Python book replays of a given stream."""
    plain = [tuple(row) for row in message_stream(messages, seed, levels).tolist()]

    def run() -> None:
        book = ReferenceBook(levels)
        for row in plain:
            book.apply(*row)

    return len(plain) / cpu_seconds(run)

"""What `grandmodel market` does: a market that was, replayed and judged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.messages import LOBSTER_PRICE_UNIT, MessagesConfig
from market.history import HistoricalMarket
from market.history_levels import LevelMatch, match_levels
from market.history_match import (
    PRICES,
    PRICES_AND_QUANTITIES,
    QuoteMatch,
    match_quotes,
    quotes_of_book,
    read_orderbook,
)
from market.history_truth import implied_quotes, quotes_of
from market.messages import Messages, load_messages

_RUNS = 5  # of which the fastest counts: other work on the machine only slows
_IMPLIED = "implied by the file, orders that it never added put in"


@dataclass(frozen=True)
class ReplayReport:
    """What a replay met and how far it agrees with the truth."""

    messages: Messages
    counts: dict[str, int]
    truth: str
    prices: QuoteMatch
    quotes: QuoteMatch
    levels: LevelMatch | None
    messages_per_second: float

    @property
    def at_best(self) -> float:
        """Executions of orders in the book at the best price of their side, share."""
        return _share(self.counts["at_best"], self.counts["executions"])

    @property
    def at_head(self) -> float:
        """Executions of the order that stood first in its level, share."""
        return _share(self.counts["at_head"], self.counts["executions"])


def run_replay(config: MessagesConfig, book: Path | None, console: Console, as_json: bool) -> None:
    """Replay the messages of a file and print what came of it."""
    report = replay_report(load_messages(config), book, config.price_unit or LOBSTER_PRICE_UNIT)
    if as_json:
        console.print_json(json.dumps(as_object(report)))
    else:
        _print(report, console)


def replay_report(messages: Messages, book: Path | None, unit: float) -> ReplayReport:
    """Replay, and compare with the order book file, or with the quotes that the file implies."""
    market = HistoricalMarket(messages, own_orders=0, record=True)
    market.advance()
    if book is None:
        truth, levels, named = implied_quotes(messages), None, _IMPLIED
    else:
        shown = read_orderbook(book, messages, unit)
        truth, levels, named = quotes_of_book(shown), match_levels(messages, shown), str(book)
    replay = quotes_of(market)
    return ReplayReport(
        messages=messages,
        counts=market.counts,
        truth=named,
        prices=match_quotes(truth, replay, PRICES),
        quotes=match_quotes(truth, replay, PRICES_AND_QUANTITIES),
        levels=levels,
        messages_per_second=_speed(messages),
    )


def as_object(report: ReplayReport) -> dict[str, Any]:
    """The report as plain data."""
    messages, rows = report.messages, report.messages.report
    out: dict[str, Any] = {
        "source": messages.source,
        "fingerprint": messages.fingerprint,
        "rows": rows.read,
        "kept": rows.kept,
        "orders": len(messages.ids),
        "start_seconds": float(messages.time[0]) * 1e-9,
        "seconds": messages.seconds,
        "dropped": rows.dropped,
        "not_for_the_book": rows.rejected,
        "noted": rows.noted,
        "counts": report.counts,
        "executions_at_best": report.at_best,
        "executions_at_head": report.at_head,
        "truth": report.truth,
        "best_price_changes": _match(report.prices),
        "best_quote_changes": _match(report.quotes),
        "messages_per_cpu_second": report.messages_per_second,
    }
    if report.levels is not None:
        out["levels"] = {
            "listed": report.levels.listed.tolist(),
            "known": report.levels.known.tolist(),
            "known_equal": report.levels.known_equal.tolist(),
            "equal": report.levels.equal.tolist(),
            "ended": report.levels.ended,
            "ended_equal": report.levels.ended_equal,
            "known_share": report.levels.share,
            "mismatches": report.levels.mismatches.tolist(),
        }
    return out


def _match(match: QuoteMatch) -> dict[str, float]:
    return {**vars(match), "share": match.share}


def _speed(messages: Messages) -> float:
    """Messages per CPU-second of the replay kernel alone, compiled already."""
    seconds = min(_timed(HistoricalMarket(messages, own_orders=0).advance) for _ in range(_RUNS))
    return len(messages) / max(seconds, 1e-9)


def _timed(advance: Callable[[], int]) -> float:
    began = time.thread_time()
    advance()
    return time.thread_time() - began


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _print(report: ReplayReport, console: Console) -> None:
    table = Table("figure", "value", title=report.messages.source, title_justify="left")
    for name, value in _figures(report):
        table.add_row(name, value)
    console.print(table)
    if report.levels is not None:
        console.print(_levels(report.levels))


def _figures(report: ReplayReport) -> list[tuple[str, str]]:
    messages, rows, counts = report.messages, report.messages.report, report.counts
    first = float(messages.time[0]) * 1e-9
    figures = [
        ("rows", f"{rows.read:,}, {rows.kept:,} kept"),
        ("span", f"{messages.seconds:,.1f} s from {first:.3f} s"),
        ("orders", f"{len(messages.ids):,}, at most {messages.peak:,} open at once"),
    ]
    for title, reasons in (("dropped", rows.dropped), ("not for the book", rows.rejected)):
        figures += [(title, f"{count:,}: {reason}") for reason, count in reasons.items()]
    figures += [("noted", f"{count:,}: {reason}") for reason, count in rows.noted.items()]
    for name in ("parked", "full", "stale", "gone", "halts", "crosses", "hidden_executions"):
        if counts[name]:
            figures.append((name.replace("_", " "), f"{counts[name]:,}"))
    known = counts["executions"]
    figures += [
        ("executions of known orders", f"{known:,}"),
        ("... at the best price", f"{counts['at_best']:,} ({report.at_best:.2%})"),
        ("... at the head of the queue", f"{counts['at_head']:,} ({report.at_head:.2%})"),
        ("truth of the quotes", report.truth),
        ("best price changes", _line(report.prices)),
        ("with quantities", _line(report.quotes)),
        ("replay kernel", f"{report.messages_per_second / 1e6:.1f}M messages per CPU-second"),
    ]
    return figures


def _line(match: QuoteMatch) -> str:
    return (
        f"{match.matched:,} of {match.changes:,} match ({match.share:.2%}); {match.replayed:,}"
        f" replayed; missed: {match.unseen} order unseen, {match.stale} stale, {match.other} other"
    )


def _levels(levels: LevelMatch) -> Table:
    total = int(levels.known.sum())
    equal = int(levels.known_equal.sum())
    table = Table(
        "level",
        "listed",
        "history known",
        "of these equal",
        "all equal",
        title=f"levels with known history: {equal:,} of {total:,} equal ({levels.share:.2%});"
        f" {levels.ended_equal:,} of {levels.ended:,} ended alike",
        title_justify="left",
    )
    columns = (levels.listed, levels.known, levels.known_equal, levels.equal)
    for level, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        table.add_row(str(level + 1), *(f"{value:,}" for value in row))
    return table

"""The bodies of `grandmodel cascade run` and `grandmodel replay`."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cascade.audit import AuditLog
from cascade.control import Control
from cascade.deadlines import LiveCaller, SystemClock
from cascade.engine import Engine
from cascade.found import Named, found_models, parse_layers
from cascade.interrupts import deferred_signals
from cascade.models import Models
from cascade.replay import Replayed, replay
from cascade.session import PaperSession, Watch, begin_clock, driving_bars
from cascade.terminal import picture
from configs.cascade import CascadeConfig, CascadeRunConfig
from configs.errors import AuditError
from market.bars import Bars

_LOGS = Path("audit")
_SECONDS_SEEN = 0.25  # between two pictures of the terminal
_ENDS = ("filled", "cancelled", "rejected", "open")


@dataclass(frozen=True)
class RunRequest:
    """What `grandmodel cascade run` was asked.

    Attributes:
        models, layers, market, tracking_uri: see `cascade.found.Named`.
        steps: hot decisions, at most.
        log: the audit log's folder; a dated one where None.
    """

    models: str
    tracking_uri: str
    config: CascadeRunConfig
    layers: Sequence[str] = ()
    market: str | None = None
    steps: int = 3_000
    log: Path | None = None

    @property
    def named(self) -> Named:
        """The artefacts that are meant."""
        return Named(self.models, self.tracking_uri, self.layers, self.market)


def run_cascade(request: RunRequest, console: Console, live: bool, as_json: bool) -> None:
    """Run a cascade on paper, with a live view, and print what it came to.

    Raises:
        GrandmodelError: whatever is wrong with artefacts, bars, log or settings.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, the session ended between two steps, on
            record, and what it came to printed.
    """
    with ExitStack() as stack:
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grandmodel-")))
        models = found_models(request.named, cache)
        folder = request.log or _LOGS / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        bars = driving_bars(models, request.config)
        asked = stack.enter_context(deferred_signals())
        session, control = _begun(request.config.cascade, models, bars, folder, stack)
        watches: list[Watch] = [_Heeded(control), _Ends(asked)]
        if live:
            view = stack.enter_context(
                Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
            )
            watches.insert(0, _Seen(view))

        def watch(seen: PaperSession) -> None:
            for each in watches:
                each(seen)

        session.watch(watch)
        try:
            taken = session.run(request.steps)
        except _Interrupted:
            taken = session.engine.steps
        session.engine.end()
    if as_json:
        told = {**concluded(session, taken, folder), "interrupted": asked.is_set()}
        console.print_json(json.dumps(told), highlight=False)
    else:
        if asked.is_set():
            console.print(
                f"interrupted at bar {session.bar} of {len(bars)}", highlight=False, markup=False
            )
        print_conclusion(session, taken, folder, console)
    if asked.is_set():
        raise KeyboardInterrupt


def _begun(
    config: CascadeConfig, models: Models, bars: Bars, folder: Path, stack: ExitStack
) -> tuple[PaperSession, Control]:
    """A session with its log, and what heeds requests to it; nothing is left where it is refused.

    Args:
        stack: closes them.
    """
    clock, caller = begin_clock(bars), LiveCaller(config.deadline, SystemClock())
    log = AuditLog(folder, config.audit)
    try:
        engine = Engine(models, config, log, caller, clock)
        session = PaperSession(engine, bars, config.seed)
        control = Control(folder)
    except BaseException:
        log.discard()
        raise
    stack.callback(log.close)
    stack.callback(control.close)
    return session, control


class _Interrupted(Exception):
    """The session is to end here, between two steps."""


class _Ends:
    """Ends a session once it is asked to: sessions are watched between two steps alone."""

    def __init__(self, asked: threading.Event) -> None:
        self._asked = asked

    def __call__(self, session: PaperSession) -> None:
        if self._asked.is_set():
            raise _Interrupted


class _Heeded:
    """Heeds requests to a session, a few times a second at most."""

    def __init__(self, control: Control) -> None:
        self._control, self._next = control, 0.0

    def __call__(self, session: PaperSession) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_SEEN
            self._control.heed(session.engine)


class _Seen:
    """Draws a session, a few times a second at most."""

    def __init__(self, view: Live) -> None:
        self._view, self._next = view, 0.0

    def __call__(self, session: PaperSession) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_SEEN
            self._view.update(picture(session), refresh=True)


def concluded(session: PaperSession, taken: int, folder: Path) -> dict[str, object]:
    """What a session came to, as plain data."""
    p50, p99 = session.latencies.percentiles(50, 99)
    return {
        "steps": taken,
        "bars": session.bar,
        "trades": session.trades,
        "position": int(session.account["position"][0]),
        "result": session.result,
        "tally": session.tally,
        "latency_p50_us": p50,
        "latency_p99_us": p99,
        "degraded": sorted(session.engine.degraded),
        "alarms": list(session.engine.alarms),
        "log": str(folder),
        "records": session.engine.sink.acknowledge() + 1,
    }


def print_conclusion(session: PaperSession, taken: int, folder: Path, console: Console) -> None:
    """Print what a session came to, for people."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    console.print(accounts_table(session.tally))
    held = session.account[0]
    say(
        f"{taken} hot decisions over {session.bar} bars, {session.trades} parent orders; position "
        f"{int(held['position'])} of {int(held['limit'])}, result {session.result:+.2f}, worst "
        f"drawdown {100 * float(held['worst_drawdown']):.2f}%"
    )
    if not session.engine.upper.decisions:
        say(
            "the layers' windows never came to be whole, so that nothing was decided: give more "
            "bars (--set generated_bars=8000, or a longer file)"
        )
    elif not taken:
        say(
            "the policies never left HOLD on these bars: nothing was ordered; --set "
            "cascade.sample=[strategic,tactical] samples their actions instead of the likeliest"
        )
    p50, p99 = session.latencies.percentiles(50, 99)
    say(f"hot decision, wall time: {p50:.0f} us in the middle, {p99:.0f} us p99")
    for alarm in session.engine.alarms:
        say(f"alarm: {alarm}")
    say(f"audit log {folder}; again to the bit: grandmodel replay {folder}")


def accounts_table(tally: Mapping[str, int]) -> Table:
    """Orders and units by what became of them; the sums must be what was sent."""
    table = Table(title="sent = filled + cancelled + rejected + open", title_justify="left")
    table.add_column("")
    for header in ("sent", *_ENDS, "accounted for"):
        table.add_column(header, justify="right")
    for what in ("orders", "units"):
        sent = tally[f"{what}_sent"]
        ends = [tally[f"{what}_{how}"] for how in _ENDS]
        verdict = "yes" if sum(ends) == sent else f"NO: {sum(ends)}"
        table.add_row(what, str(sent), *map(str, ends), verdict)
    return table


def run_replay(folder: Path, layers: Sequence[str], console: Console, as_json: bool) -> bool:
    """Replay a log and print whether every decision came again; whether it did.

    Raises:
        GrandmodelError: the log or an artefact of it cannot be read.
    """
    if not folder.is_dir():
        raise AuditError(f"{folder}: no such folder; name the folder of an audit log")
    places: dict[str, list[Path]] = {}
    for text in layers:
        for layer, place in parse_layers([text]).items():
            places.setdefault(layer, []).append(Path(place))
    found = replay(folder, places)
    if as_json:
        console.print_json(json.dumps(_plain(found)), highlight=False)
    else:
        verdict = "every decision came again to the bit"
        if found.difference is not None:
            verdict = f"DIFFERS at {found.difference}"
        console.print(
            f"{found.records} records, {found.decisions} decisions ({found.steps} hot): {verdict}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        for note in _endings(found):
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    return found.difference is None


def _endings(found: Replayed) -> Iterator[str]:
    """What is to be said of a log that does not end as a session's does."""
    if found.torn:
        yield f"the log's last record is cut off: its {found.torn} bytes are left out"
    if found.ended is False:
        yield "the log holds no SESSION_ENDED: the session was killed, or goes on"


def _plain(found: Replayed) -> dict[str, object]:
    difference = found.difference
    return {
        "records": found.records,
        "decisions": found.decisions,
        "hot_decisions": found.steps,
        "equal": difference is None,
        "torn_bytes": found.torn,
        "ended": found.ended,
        "first_difference": None
        if difference is None
        else {"record": difference.number, "clock": difference.clock, "what": difference.what},
    }

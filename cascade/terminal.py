"""The live view of a session: position and result, decisions, orders, latency, alarms."""

from __future__ import annotations

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cascade.events import HELD, SOURCES
from cascade.session import PaperSession
from signals.superposition import DIRECTIONS

_ALARMS_SHOWN = 5


def picture(session: PaperSession) -> RenderableType:
    """A session as it stands."""
    return Group(_head(session), _layers(session), _orders(session), _alarms(session))


def _head(session: PaperSession) -> Table:
    held, bars = session.account[0], session.bars
    table = Table.grid(padding=(0, 3))
    stamp = np.datetime64(int(bars.start[session.bar]), "ns").astype("datetime64[m]")
    share = int(held["position"]) / max(int(held["limit"]), 1)
    p50, p99 = session.latencies.percentiles(50, 99)
    table.add_row(
        f"bar {session.bar} of {len(bars)}, {stamp} UTC",
        f"position {int(held['position'])} ({share:+.0%} of the limit)",
        f"result {session.result:+.2f}",
        f"drawdown {float(held['drawdown']):.2%}",
    )
    table.add_row(
        f"{session.engine.steps} hot decisions",
        f"{session.trades} parent orders",
        f"latency {p50:.0f} us, p99 {p99:.0f}",
        f"audit record {session.engine.recorded}",
    )
    return table


def _layers(session: PaperSession) -> Table:
    table = Table(title="decisions", title_justify="left")
    for name in ("layer", *DIRECTIONS, "target", "how"):
        table.add_column(name, justify="left" if name in ("layer", "how") else "right")
    for layer in session.engine.upper.spoken():
        table.add_row(
            layer.layer,
            *(f"{share:.2f}" for share in layer.directions),
            f"{layer.target:+.2f}",
            layer.how,
        )
    acted = session.engine.hot.acted[0]
    source = int(acted["source"])
    how = SOURCES[source] if source < HELD else f"[bold]{SOURCES[source]}[/bold]"
    plan = session.plan.signed
    table.add_row(
        "execution", "", "", "", f"{plan:+d}", f"{how}, {int(acted['children'])} child orders"
    )
    return table


def _orders(session: PaperSession) -> Table:
    table, tally = Table(title="orders", title_justify="left"), session.tally
    names = ("sent", "filled", "cancelled", "rejected", "open")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for what in ("orders", "units"):
        table.add_row(what, *(str(tally[f"{what}_{name}"]) for name in names))
    return table


def _alarms(session: PaperSession) -> RenderableType:
    engine = session.engine
    if not engine.degraded and not engine.alarms:
        return Text("no alarms")
    lines = [f"degraded: {', '.join(sorted(engine.degraded)) or 'no more'}"]
    lines += engine.alarms[-_ALARMS_SHOWN:]
    return Panel(Text("\n".join(lines)), title="alarms", title_align="left")

"""The form in which a benchmark reports: figures, the machine, the commit."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy
from rich.table import Table

from trainers.provenance import commit

_CPU_FACTS = Path("/proc/cpuinfo")
_BYTES_PER_GIB = 2**30


Target = float | tuple[float | None, float | None] | None


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark measured.

    Attributes:
        name: as in the design's table of figures.
        value: in `unit`.
        reference: what it is compared with, in words; None where there is nothing.
        reference_value: of the reference, measured in the same run.
        ratio: how the two compare; None without a reference.
        target: bound for the ratio where there is one, else for the value; or a range
            (low, high), an end of it None where it is open.
        at_most: the target is an upper bound.
        of_value: the target bounds the value, whether there is a ratio or not.
    """

    name: str
    value: float
    unit: str
    reference: str | None = None
    reference_value: float | None = None
    ratio: float | None = None
    target: Target = None
    at_most: bool = False
    of_value: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        judged = self.value if self.ratio is None or self.of_value else self.ratio
        if isinstance(self.target, tuple):
            low, high = self.target
            return (low is None or judged >= low) and (high is None or judged <= high)
        return judged <= self.target if self.at_most else judged >= self.target

    def row(self) -> dict[str, Any]:
        """The figure as plain data."""
        out = asdict(self)
        del out["at_most"], out["of_value"]
        return {**out, "met": self.met}


def speed(
    name: str,
    value: float,
    unit: str,
    reference: str,
    reference_value: float,
    target: float | None = None,
) -> Figure:
    """A figure whose ratio is value / reference, higher being better."""
    return Figure(name, value, unit, reference, reference_value, value / reference_value, target)


def cost_ratio(
    name: str, cost: float, reference: str, reference_cost: float, target: float
) -> Figure:
    """A figure that is itself a ratio of two costs in ns, lower being better."""
    ratio = cost / reference_cost
    return Figure(name, ratio, "x", reference, reference_cost, ratio, target, at_most=True)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "memory_gib": _memory_gib(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }


def _cpu_name() -> str:
    if _CPU_FACTS.is_file():
        for line in _CPU_FACTS.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    # Only Linux tells which cores a process may run on.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return round(pages / _BYTES_PER_GIB, 1)
    return None


def report(bench: str, figures: list[Figure]) -> dict[str, Any]:
    """The object that `--json` prints; `commit` ends in -dirty where files differ from it."""
    return {
        "bench": bench,
        "machine": machine(),
        "commit": commit().told,
        "figures": [figure.row() for figure in figures],
    }


def table(bench: str, figures: list[Figure]) -> Table:
    """The figures for people."""
    out = Table(title=f"bench {bench}: {_cpu_name()}", title_justify="left")
    # A name stays whole; the reference under it may wrap.
    out.add_column("figure", min_width=max(len(figure.name) for figure in figures))
    out.add_column("value", no_wrap=True, justify="right")
    for column in ("ratio", "target"):
        out.add_column(column, no_wrap=True, justify="right")
    out.add_column("met")
    for figure in figures:
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.met]
        name = figure.name
        if figure.reference is not None and figure.reference_value is not None:
            name += f"\n  [dim]{figure.reference}: {_number(figure.reference_value)}[/]"
        value = f"{_number(figure.value)} {figure.unit}"
        out.add_row(name, value, _number(figure.ratio), _target(figure), met)
    return out


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    if isinstance(figure.target, tuple):
        low, high = figure.target
        if low is not None and high is not None:
            return f"{_number(low)} to {_number(high)}"
        return f"<= {_number(high)}" if low is None else f">= {_number(low)}"
    return f"{'<=' if figure.at_most else '>='} {_number(figure.target)}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

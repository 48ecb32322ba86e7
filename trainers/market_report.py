"""The realism report: a market's facts beside a real one's, on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from rich import box
from rich.markup import escape as rich_escape
from rich.table import Table

from configs.facts import FactsConfig, Target
from configs.loading import dump_yaml
from market.facts import Fact, ImpactSample, Sample, facts_of, impact_facts, pooled
from market.facts.curves import Curve
from market.recording import Recording
from trainers.market_plots import PANELS, Plot, impact_plot, number, plot
from trainers.report import replace

SIMULATED, REAL = "simulated", "real"
PASS, FAIL, TOLD, UNSETTLED = "pass", "fail", "told", "?"
IMPACT_AFTER = "signature"  # the impact curve stands behind this panel

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --page: #ffffff; --rule: #d5dade;
  --first: #1f6fb5; --second: #c05a00; --third: #6a51a3; --good: #1b7837; --bad: #b2182b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --page: #15191d; --rule: #3b444c;
  --first: #6cb2f0; --second: #f5a25d; --third: #b9a6e8; --good: #6fd08c; --bad: #ff8a8a; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: var(--ink);
  background: var(--page); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--rule); text-align: left; }
td.n { text-align: right; white-space: nowrap; }
.pass { color: var(--good); font-weight: 600; } .fail { color: var(--bad); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 2rem; }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
figcaption { font-size: .9rem; } details { font-size: .85rem; }
dt { font-weight: 600; } pre { overflow-x: auto; border: 1px solid var(--rule); padding: 1rem; }
"""


def write_report(
    simulated: Sequence[Recording],
    real: Sequence[Recording] | None,
    impact: Mapping[str, ImpactSample] | None,
    path: Path,
    *,
    config: FactsConfig | None = None,
    settings: Mapping[str, BaseModel] | None = None,
) -> tuple[Fact, ...]:
    """Measure the market, write the page to `path` atomically, and return its facts.

    Args:
        simulated: recordings of the simulator, pooled.
        real: recordings of a real market to stand beside it; None where absent.
        impact: pairs of volume and impact of the simulator, by experiment.
        path: of the page; its folder is made where missing.
        config: of the facts and their ranges.
        settings: configurations that made the simulated market, by heading; printed
            at the end, before the one of the facts.

    Raises:
        DataError: a recording contradicts itself, or none is given.
    """
    config = config or FactsConfig()
    samples = {SIMULATED: pooled(simulated, config)}
    if real:
        samples[REAL] = pooled(real, config)
    exponents = impact_facts(impact or {}, config)
    own = facts_of(samples[SIMULATED]) + exponents
    beside = {fact.name: fact for fact in facts_of(samples[REAL])} if real else {}
    drawn = _plots(samples, impact or {}, exponents)
    sections = [
        _verdicts(own, beside),
        _recordings(samples),
        _figures(drawn),
        _definitions(own),
        _settings({**(settings or {}), "facts": config}),
    ]
    replace(path, page("Market realism", [_summary(own), *sections]).encode())
    return own


def facts_table(own: Sequence[Fact], beside: Sequence[Fact] = ()) -> Table:
    """The facts for a terminal of 80 columns: judged ones first, `beside` the real market's."""
    others = {fact.name: fact for fact in beside}
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("fact", overflow="fold")
    for header in [SIMULATED, "range", "verdict"] + ([REAL] if others else []):
        shown.add_column(header, justify="right", no_wrap=True)
    for fact in _judged_first(own):
        value = number(fact.value) + (f" {_interval(fact)}" if fact.low is not None else "")
        cells = [fact.name, value, _range(fact.target), verdict(fact)]
        if others:
            cells.append(number(others[fact.name].value) if fact.name in others else "-")
        shown.add_row(*(rich_escape(cell) for cell in cells))
    shown.caption = f"{UNSETTLED} the interval reaches across an end of the range"
    shown.caption_justify = "left"
    return shown


def verdict(fact: Fact) -> str:
    """`pass`, `fail` or `told`; with a question mark where the interval leaves it open."""
    if fact.met is None:
        return TOLD
    return (PASS if fact.met else FAIL) + (UNSETTLED if fact.settled is False else "")


def _summary(own: Sequence[Fact]) -> str:
    judged = [fact for fact in own if fact.met is not None]
    failed = [fact for fact in judged if not fact.met]
    said = f"{len(judged) - len(failed)} of {len(judged)} facts lie in their range."
    if failed:
        said += " Outside: " + ", ".join(f"{f.name} ({number(f.value)})" for f in failed) + "."
    return f"<p><strong>{escape(said)}</strong></p>"


def _verdicts(own: Sequence[Fact], beside: Mapping[str, Fact]) -> str:
    headers = ["fact", SIMULATED, "interval", "range", "verdict"]
    headers += [REAL, "interval", "verdict of the real one"] if beside else []
    rows = []
    for fact in _judged_first(own):
        cells = [
            f'<th scope="row">{escape(fact.name)}<br><small>{escape(_said(fact))}</small></th>'
        ]
        cells += _cells(fact, ranged=True)
        if beside:
            other = beside.get(fact.name)
            cells += ["<td></td>"] * 3 if other is None else _cells(other, ranged=False)
        rows.append("<tr>" + "".join(cells) + "</tr>")
    note = (
        "A verdict is of the number; a question mark says that the interval reaches across an end "
        "of the range. Intervals draw stretches of time again: long memory makes them too narrow. "
        "Facts without a range are told, not judged."
    )
    return f"<h2>Verdicts</h2><p>{note}</p>" + html_table(headers, rows)


def _cells(fact: Fact, ranged: bool) -> list[str]:
    value = number(fact.value) if fact.value is not None else f"not measured: {fact.reason}"
    kind = FAIL if fact.met is False else PASS if fact.met else TOLD
    cells = [f'<td class="n">{escape(value)}</td>', f'<td class="n">{_interval(fact)}</td>']
    if ranged:
        cells.append(f'<td class="n">{escape(_range(fact.target))}</td>')
    return [*cells, f'<td class="{kind}">{verdict(fact)}</td>']


def _recordings(samples: Mapping[str, Sample]) -> str:
    rows = [
        f'<tr><th scope="row">{name}</th><td>{escape(r.source)}</td>'
        f'<td class="n">{r.seconds:,.0f}</td><td class="n">{r.tick:g}</td>'
        f'<td class="n">{r.message_time.size:,}</td><td class="n">{r.trade_time.size:,}</td>'
        f'<td class="n">{r.quote_time.size:,}</td></tr>'
        for name, sample in samples.items()
        for r in sample.recordings
    ]
    absent = "" if REAL in samples else "<p>No real recording was given to stand beside it.</p>"
    headers = ["market", "source", "seconds", "tick", "messages", "fills", "quotes"]
    return f"<h2>Recordings</h2>{absent}" + html_table(headers, rows)


def _plots(
    samples: Mapping[str, Sample], impact: Mapping[str, ImpactSample], exponents: Sequence[Fact]
) -> list[tuple[str, str, Plot]]:
    """Title, what to look for, and plot of every panel."""
    drawn: list[tuple[str, str, Plot]] = []
    for panel in PANELS:
        drawn.append((panel.title, panel.look_for, plot(panel, samples)))
        if panel.name == IMPACT_AFTER and impact:
            facts = dict(zip(impact, exponents, strict=True))
            fitted = "; ".join(
                f"{name.replace('_', ' ')}: exponent {number(fact.value)} {_interval(fact)}"
                for name, fact in facts.items()
            )
            drawn.append(("Impact by volume", f"{fitted}.", impact_plot(impact, facts)))
    return drawn


def _figures(drawn: Sequence[tuple[str, str, Plot]]) -> str:
    return '<h2>Plots</h2><div class="plots">' + "".join(map(_figure, drawn)) + "</div>"


def _figure(entry: tuple[str, str, Plot]) -> str:
    title, look_for, drawn = entry
    alt = escape(drawn.spoken, quote=True)
    svg = drawn.svg.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
    missing = [
        f"<p>{escape(name)}: not measured, {escape(curve.reason)}.</p>"
        for name, curve in drawn.curves.items()
        if not curve.x.size
    ]
    return (
        f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(look_for)}</figcaption>"
        f"{''.join(missing)}<details><summary>Numbers</summary>"
        f"{''.join(_numbers(name, curve) for name, curve in drawn.curves.items())}"
        "</details></figure>"
    )


def _numbers(name: str, curve: Curve) -> str:
    rows = [
        f'<tr><td class="n">{x:.4g}</td><td class="n">{number(y)}</td>'
        f'<td class="n">{_ends(low, high)}</td></tr>'
        for x, y, low, high in zip(curve.x, curve.y, curve.low, curve.high, strict=True)
    ]
    return f"<p>{escape(name)}</p>" + html_table(["x", "y", "interval"], rows) if rows else ""


def _definitions(own: Sequence[Fact]) -> str:
    entries = [
        f"<dt>{escape(fact.name)}</dt><dd>{escape(_said(fact))}. "
        f"Source: {escape(fact.source)}. Range: {escape(fact.target_source)}.</dd>"
        for fact in own
    ]
    return "<h2>Definitions and sources</h2><dl>" + "".join(entries) + "</dl>"


def _settings(settings: Mapping[str, BaseModel]) -> str:
    said = [
        f"<h3>{escape(name)}</h3><pre>{escape(dump_yaml(model))}</pre>"
        for name, model in settings.items()
    ]
    return "<h2>Configuration</h2>" + "".join(said)


def page(title: str, sections: Sequence[str]) -> str:
    """One self-contained HTML page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def html_table(headers: Sequence[str], rows: Sequence[str]) -> str:
    """A table of rows that are HTML already."""
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _said(fact: Fact) -> str:
    return fact.meaning if fact.unit == "1" else f"{fact.meaning}, {fact.unit}"


def _judged_first(own: Sequence[Fact]) -> list[Fact]:
    return sorted(own, key=lambda fact: fact.met is None)


def _interval(fact: Fact) -> str:
    if fact.low is None or fact.high is None:
        return "-"
    return _ends(fact.low, fact.high)


def _ends(low: float, high: float) -> str:
    known = np.isfinite(low) and np.isfinite(high)
    return f"[{number(low, 2)}, {number(high, 2)}]" if known else "-"


def _range(target: Target) -> str:
    if not target.is_set:
        return "-"
    if target.low is None:
        return f"<= {target.high:g}"
    if target.high is None:
        return f">= {target.low:g}"
    return f"{target.low:g} to {target.high:g}"

"""The evaluation on one self-contained HTML page, for readers who did not write it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pydantic import BaseModel

from configs.loading import dump_yaml
from trainers.evaluation.findings import Findings
from trainers.evaluation.intervals import Interval
from trainers.evaluation.plots import Drawn
from trainers.evaluation.subject import POLICY
from trainers.market_plots import number
from trainers.market_report import html_table, page

_PERCENT = ("total_return", "annual_return", "volatility", "max_drawdown", "hit_rate")
MEANINGS: Mapping[str, str] = {
    "total_return": "return over the whole backtest, compounded, net of costs",
    "annual_return": "compound growth a year",
    "volatility": "standard deviation of a year's return",
    "max_drawdown": "deepest fall below the highest so far",
    "sharpe": "mean over standard deviation of a period's return, a year (Sharpe 1994)",
    "sortino": "mean over the root of mean squared losses, a year (Sortino and Price 1994)",
    "calmar": "annual return over the deepest drawdown (Young 1991)",
    "hit_rate": "share of periods that gained, of those that gained or lost",
    "profit_factor": "sum of gains over sum of losses",
    "payoff_ratio": "mean gain over mean loss; a hit rate means nothing without it",
    "shortfall_bp, bp": "cost of an order against the price at its arrival, fees included",
    "slippage_bp, bp": "the part of it against the mid when each child was decided",
    "fees_bp, bp": "the part of it that is fees",
    "filled_before_cross, share": "filled before what was left had to cross at the horizon",
    "quality, score": "the documents' score of latency, fill, slippage and risk",
    "stopped, share": "orders that the policy gave up by an emergency stop",
}
_TERMS = (
    (
        "probability (first line)",
        "That the best of all trials, had none any skill over the baseline, would have looked less "
        "good than this policy: the probabilistic Sharpe ratio of its lead over the best baseline, "
        "to the power of the number of trials (Sidak 1967). Days that move in trends count as "
        "fewer.",
    ),
    (
        "PSR",
        "Probability that the true Sharpe ratio is above zero, by its estimate, the length of the "
        "record, skew and fat tails (Bailey and Lopez de Prado 2012).",
    ),
    (
        "DSR",
        "The same against the Sharpe ratio that the best of so many trials is expected to show by "
        "luck alone (Bailey and Lopez de Prado 2014). Above 95% it is a stricter test than the "
        "first line.",
    ),
    (
        "MinTRL",
        "How long a record must be for a Sharpe ratio like this to be above zero surely enough.",
    ),
    (
        "PBO",
        "Of all ways to halve the record, the share in which the policy that is best in one half "
        "is below the middle in the other (Bailey, Borwein, Lopez de Prado and Zhu 2017). Half is "
        "what chance gives.",
    ),
    (
        "SPA",
        "Test of whether any policy is better than the best baseline, which takes into account "
        "how many were tried (Hansen 2005). Small is better.",
    ),
    (
        "model confidence set",
        "The policies that cannot be told from the best one (Hansen, Lunde and Nason 2011).",
    ),
    (
        "intervals",
        "By stationary bootstrap: blocks of time are drawn again, so that what depends on time "
        "stays together (Politis and Romano 1994; block length by Politis and White 2004). Of "
        "orders whole paths are drawn again.",
    ),
)


def report_page(
    found: Findings,
    drawn: Sequence[Drawn],
    told: Sequence[str],
    settings: Mapping[str, BaseModel],
) -> str:
    """The page's HTML; its first line is the verdict.

    Args:
        told: what was evaluated, in sentences.
        settings: configurations to print at the end, by heading.
    """
    kind = "pass" if found.better.is_evidence else "fail"
    sections = [
        f'<p class="{kind}">{escape(found.verdict)}</p>',
        _summary(found, told),
        _measures(found),
        _plots(drawn),
        _groups(found),
        _tests(found),
        _meanings(found),
        _settings(settings),
    ]
    return page(f"Is the {found.layer} policy any good?", sections)


def _summary(found: Findings, told: Sequence[str]) -> str:
    lead = found.lead
    size = "bp" if found.alone is None else "of the account"
    scale = 1.0 if found.alone is None else 1e4
    said = [
        *told,
        f"Against '{found.best}', the best of {len(found.gains) - 1} baselines, it gained "
        f"{scale * float(lead.mean()):+.3f} bp {'of the order' if size == 'bp' else size} a "
        f"{found.unit} more, on the same random numbers.",
        *found.notes,
    ]
    return "".join(f"<p>{escape(line)}</p>" for line in said)


def _measures(found: Findings) -> str:
    names = [POLICY, found.best]
    names += [name for name in found.gains if name not in names]
    first = next(iter(found.measures.values()))
    rows = []
    for measure in first:
        cells = [
            f'<td class="n">{shown(measure, found.measures[name][measure])}</td>' for name in names
        ]
        rows.append(f'<tr><th scope="row">{escape(_named(measure))}</th>{"".join(cells)}</tr>')
    for other in next(iter(found.others.values()), {}):
        cells = [
            f'<td class="n">{number(_or_none(found.others[name][other]))}</td>' for name in names
        ]
        rows.append(f'<tr><th scope="row">{escape(other)}</th>{"".join(cells)}</tr>')
    headers = ["", *(f"{name} (best baseline)" if name == found.best else name for name in names)]
    return (
        f"<h2>Measures</h2><p>All net of costs, with {found.confidence:.0%} intervals in "
        "brackets; a dash is what has no value.</p>" + html_table(headers, rows)
    )


def shown(measure: str, value: Interval) -> str:
    """A measure with its interval, for people."""
    if not math.isfinite(value.value):
        return "-"
    scale, unit = (100.0, "%") if measure in _PERCENT else (1.0, "")
    ends = [number(_or_none(scale * end)) for end in (value.low, value.high)]
    return f"{number(scale * value.value)}{unit} [{ends[0]}, {ends[1]}]"


def _plots(drawn: Sequence[Drawn]) -> str:
    figures = []
    for one in drawn:
        alt = escape(f"{one.title}. {one.look_for}", quote=True)
        svg = one.svg.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
        figures.append(
            f"<figure><h3>{escape(one.title)}</h3>{svg}"
            f"<figcaption>{escape(one.look_for)}</figcaption></figure>"
        )
    note = "The policy is the thick line, the best baseline the dashed one, the others are thin."
    return f'<h2>Plots</h2><p>{note}</p><div class="plots">' + "".join(figures) + "</div>"


def _groups(found: Findings) -> str:
    what = "order" if found.alone is None else "bar"
    rows = [
        f'<tr><th scope="row">{escape(group.by)}: {escape(group.label)}</th>'
        f'<td class="n">{group.count:,}</td><td class="n">{number(group.policy)}</td>'
        f'<td class="n">{number(group.baseline)}</td>'
        f'<td class="n">{number(group.policy - group.baseline)}</td>'
        f'<td class="n">{_ends(group.low, group.high)}</td></tr>'
        for group in found.groups
    ]
    headers = ["where", f"{what}s", "policy, bp", f"{found.best}, bp", "difference, bp", "interval"]
    return (
        f"<h2>By regime and year</h2><p>Mean gain of a {what} (of orders: minus the shortfall). "
        f"Groups are told by what was known before each {what}. An edge that lives in one group "
        "alone is a warning.</p>" + html_table(headers, rows)
    )


def _tests(found: Findings) -> str:
    said = [("better than the best baseline", str(found.better))]
    if found.alone is not None:
        alone = found.alone
        said += [
            ("the policy's own returns", str(alone)),
            ("PSR", f"{alone.psr:.3f}"),
            (
                f"DSR of {alone.trials:g} trials",
                f"{alone.dsr:.3f}; luck shows {alone.luck:.2f} a year",
            ),
            ("MinTRL", _record(alone.min_track_record, found)),
        ]
    else:
        said += [("MinTRL", _record(found.better.min_track_record, found))]
    if found.pbo is not None:
        said.append(("PBO", f"{found.pbo.pbo:.2f} over {found.pbo.splits:,} splits"))
    if found.spa is not None:
        spa = found.spa
        better = ", ".join(spa.better) or "none"
        said.append(
            (
                f"SPA against {spa.benchmark}",
                f"p = {spa.consistent:.3f} (between {spa.lower:.3f} and {spa.upper:.3f}); better "
                f"by themselves: {better}; blocks of {spa.block} {found.unit}s",
            )
        )
    values = ", ".join(f"{name} {value:.3f}" for name, value in found.mcs.pvalues.items())
    said.append(
        (
            f"model confidence set at {1.0 - found.mcs.size:.0%}",
            f"{', '.join(found.mcs.included)} (p-values: {values})",
        )
    )
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in said
    ]
    return "<h2>Tests</h2>" + html_table(["test", "result"], rows)


def _record(periods: float, found: Findings) -> str:
    if not math.isfinite(periods):
        return "none is long enough: the mean is not above zero"
    have = found.lead.size
    years = (
        "" if math.isnan(found.periods_a_year) else f" ({periods / found.periods_a_year:.1f} years)"
    )
    return f"{periods:,.0f} {found.unit}s{years}; there are {have:,}"


def _meanings(found: Findings) -> str:
    measures = next(iter(found.measures.values()))
    entries = [(_named(name), MEANINGS[name]) for name in measures if name in MEANINGS]
    entries += list(_TERMS)
    told = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in entries)
    return f"<h2>What the words mean</h2><dl>{told}</dl>"


def _settings(settings: Mapping[str, BaseModel]) -> str:
    told = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(dump_yaml(model))}</pre></details>"
        for name, model in settings.items()
    )
    return f"<h2>Configuration</h2>{told}"


def _named(measure: str) -> str:
    return measure.replace("_bp", "").replace("_", " ")


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "too few"
    return f"[{number(low)}, {number(high)}]"

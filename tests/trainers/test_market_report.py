"""The realism report: one page that says what was measured and needs nothing else."""

from __future__ import annotations

import dataclasses
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from configs.errors import DataError
from configs.facts import FactsConfig, Target, TargetsConfig
from configs.market import ArrivalConfig, FlowConfig
from market.facts import Fact, ImpactSample, facts
from market.recording import Recording
from tests.market.recordings import poisson, quoted, recording
from trainers.market_plots import PANELS, VARIABLES, number
from trainers.market_report import facts_table, verdict, write_report

VOID = {"meta", "br"}
CONFIG = FactsConfig(bootstrap_samples=100)


class Page(HTMLParser):
    """Checks that tags close in order, and keeps rows of tables and texts of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.spoken: list[str] = []
        self.identities: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "br":
            self.rows[-1][-1] += "\n"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if values.get("role") == "img":
            self.spoken.append(values["aria-label"] or "")
        if values.get("id"):
            self.identities.append(values["id"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.identities += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells of the table's row that begins with `name`."""
        (found,) = (row for row in self.rows if row[0].split("\n")[0] == name)
        return found


def market(seed: int, tail: float) -> Recording:
    """Half an hour of a walk with Student steps, and Poisson orders whose signs repeat."""
    rng = np.random.default_rng(seed)
    seconds = 1800
    base = quoted(10_000.0 + np.concatenate([[0.0], np.cumsum(rng.standard_t(tail, seconds))]))
    times = poisson(0.5, seconds, rng)
    side = np.cumprod(rng.choice([1, 1, 1, -1], times.size))
    return dataclasses.replace(
        base,
        message_time=poisson(5.0, seconds, rng),
        trade_time=times,
        trade_price=base.mid[times.astype(int)] + side,
        trade_quantity=rng.integers(1, 300, times.size),
        trade_side=side,
        cancel_age=rng.exponential(3.0, 2000),
        depth=np.array([50.0, 60.0, 40.0]),
    )


@pytest.fixture(scope="module")
def impact() -> dict[str, ImpactSample]:
    volume = np.geomspace(1e-3, 0.1, 9)
    return {
        "fixed_horizon": ImpactSample(volume, 12.0 * np.sqrt(volume)),
        "fixed_participation": ImpactSample(volume, 9.0 * volume**0.8),
    }


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, impact: dict[str, ImpactSample]
) -> tuple[Path, tuple[Fact, ...]]:
    path = tmp_path_factory.mktemp("report") / "new" / "market.html"
    own = write_report(
        [market(0, 4.0)],
        [market(1, 5.0)],
        impact,
        path,
        config=CONFIG,
        settings={"flow <1>": FlowConfig(arrivals=ArrivalConfig(messages_per_second=5.0))},
    )
    return path, own


@pytest.fixture(scope="module")
def page(written: tuple[Path, tuple[Fact, ...]]) -> Page:
    return Page(written[0].read_text())


def test_the_table_holds_every_fact_with_its_number_and_verdict(
    written: tuple[Path, tuple[Fact, ...]], page: Page
) -> None:
    beside = {fact.name: fact for fact in facts(market(1, 5.0), CONFIG)}
    for fact in written[1]:
        cells = page.row(fact.name)
        assert cells[1] == number(fact.value), fact
        assert cells[4] == verdict(fact)
        if fact.name in beside:
            assert cells[5] == number(beside[fact.name].value)
    assert page.row("impact_exponent_fixed_horizon")[1:5] == [
        "0.500", "[0.50, 0.50]", "0.4 to 0.6", "pass",
    ]  # fmt: skip
    assert page.row("impact_exponent_fixed_participation")[4] == "fail"


def test_judged_facts_come_first(written: tuple[Path, tuple[Fact, ...]], page: Page) -> None:
    judged = {fact.name for fact in written[1] if fact.met is not None}
    assert len(judged) == 9
    assert {row[0].split("\n")[0] for row in page.rows[1 : 1 + len(judged)]} == judged


def test_the_summary_counts_and_names_what_lies_outside(
    written: tuple[Path, tuple[Fact, ...]],
) -> None:
    path, own = written
    judged = [fact for fact in own if fact.met is not None]
    kept = sum(bool(fact.met) for fact in judged)
    text = path.read_text()
    summary = text[text.index("<strong>") : text.index("</strong>")]
    assert f"{kept} of {len(judged)} facts" in summary
    assert "impact_exponent_fixed_participation (0.800)" in summary
    assert "impact_exponent_fixed_horizon" not in summary


def test_the_page_needs_nothing_else(written: tuple[Path, tuple[Fact, ...]]) -> None:
    text = written[0].read_text()
    names_of_formats = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) == names_of_formats
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|url\((?!#)", text)


def test_plots_are_pictures_with_words_in_the_pages_own_colours(
    written: tuple[Path, tuple[Fact, ...]], page: Page
) -> None:
    text = written[0].read_text()
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(pictures) == len(page.spoken) == len(PANELS) + 1
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert "var(--first)" in picture and "var(--ink)" in picture
        referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', picture))
        assert referred <= set(re.findall(r'\bid="([^"]+)"', picture))
    assert len(page.identities) == len(set(page.identities))
    assert not any(colour in text for colour in VARIABLES)
    for variable in VARIABLES.values():
        assert text.count(variable.removeprefix("var(").removesuffix(")") + ":") == 2  # both themes


def test_pictures_say_their_numbers(written: tuple[Path, tuple[Fact, ...]], page: Page) -> None:
    named = {fact.name: fact for fact in written[1]}
    (kurtosis,) = (said for said in page.spoken if said.startswith("Kurtosis"))
    assert f"simulated: {number(named['kurtosis_1s'].value)} at 1," in kurtosis
    assert "real:" in kurtosis
    (curve,) = (said for said in page.spoken if said.startswith("Impact"))
    assert f"fixed horizon: {number(12 * np.sqrt(1e-3))} at 0.001," in curve


def test_configurations_are_printed_and_escaped(written: tuple[Path, tuple[Fact, ...]]) -> None:
    text = written[0].read_text()
    assert "<h3>flow &lt;1&gt;</h3>" in text and "<1>" not in text
    assert "messages_per_second: 5.0" in text
    assert "bootstrap_samples: 100" in text


def test_the_same_market_writes_the_same_page(
    written: tuple[Path, tuple[Fact, ...]], impact: dict[str, ImpactSample], tmp_path: Path
) -> None:
    again = tmp_path / "again.html"
    settings = {"flow <1>": FlowConfig(arrivals=ArrivalConfig(messages_per_second=5.0))}
    write_report(
        [market(0, 4.0)], [market(1, 5.0)], impact, again, config=CONFIG, settings=settings
    )
    assert again.read_bytes() == written[0].read_bytes()


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    falling = {"fixed_horizon": ImpactSample(np.array([1.0, 2.0]), np.array([-1.0, -2.0]))}
    own = write_report([recording()], None, falling, path, config=CONFIG)
    text = path.read_text()
    page = Page(text)
    assert "No real recording was given" in text
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())
    for fact in own:
        assert page.row(fact.name)[1].startswith("not measured" if fact.value is None else "0")
    assert page.row("impact_exponent_fixed_horizon")[4] == "fail"
    assert all("not measured" in said for said in page.spoken)


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "market.html"
    path.write_text("old")
    broken = dataclasses.replace(market(0, 4.0), cancel_age=np.array([-1.0]))
    with pytest.raises(DataError, match="cancel_age"):
        write_report([broken], None, None, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_terminals_table_fits_80_columns() -> None:
    own = facts(market(0, 4.0), CONFIG)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(facts_table(own, facts(market(1, 5.0), CONFIG)))
    said = console.export_text()
    assert "…" not in said
    named = {fact.name: fact for fact in own}
    for name in ("kurtosis_60s", "spread_mean", "realised_spread_10s"):
        assert name in said and number(named[name].value) in said


def test_a_range_that_is_set_is_judged(tmp_path: Path) -> None:
    targets = TargetsConfig(spread_mean=Target(low=1.0, high=1.5))
    config = CONFIG.model_copy(update={"targets": targets})
    write_report([market(0, 4.0)], None, None, tmp_path / "x.html", config=config)
    row = Page((tmp_path / "x.html").read_text()).row("spread_mean")
    assert row[1:] == ["2.00", "[2.0, 2.0]", "1 to 1.5", "fail"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (23.456, "23.5"), (0.0123456, "0.0123"), (-4.0, "-4.00"),
        (123456.0, "123,456"), (1.5e-7, "1.50e-07"), (2e9, "2.00e+09"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text

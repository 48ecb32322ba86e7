"""What a calibration found, for people and for files; `trainers.calibration` finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.artefact import DIRECTION, Confidence
from policies.calibration import Reliability
from signals.expected_return import RETURN_MAP_FILE, ReturnMap
from trainers.report import replace, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REPORT_FILE = "calibration.json"
PLOT_FILE = "calibration.png"
_BP = 1e4
_PANEL = 4.0  # inches
_LEAST_DOT, _DOTS = 20.0, 180.0  # points squared: of a bin, and of all rows together


@dataclass(frozen=True)
class Interval:
    """A figure and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class TemperedConfidence:
    """One kind of confidence, as stated and under its temperature.

    Attributes:
        fitted: claims on the validation split. rows: those on the test split; of: the
            decisions that they were made in.
        right: how far the test's claims were, on the mean.
        before, after, change: expected calibration error on the test split; the last is
            after less before.
        stated, tempered: the reliability behind the two.
    """

    what: Confidence
    temperature: float
    fitted: int
    rows: int
    of: int
    right: float
    before: Interval
    after: Interval
    change: Interval
    stated: Reliability
    tempered: Reliability

    def __str__(self) -> str:
        if self.change.high < 0.0:
            outcome = "smaller"
        elif self.change.low > 0.0:
            outcome = "larger: what was learnt on the validation split did not hold"
        else:
            outcome = "which cannot be told from none"
        return (
            f"calibration of {self.what}: temperature {self.temperature:.2f} by {self.fitted} "
            f"claims of the validation split; of {self.rows} on the test split ({self.of} "
            f"decisions) {self.right:.1%} right; error {self.before} as stated, {self.after} "
            f"with it, change {self.change}, {outcome}"
        )


@dataclass(frozen=True)
class PredictedNumber:
    """Predictions of a number against what came, on the test split.

    error: mean over rows of |mean came - mean predicted| of the row's bin. explained: 1 - the
    squared error over that of the mean; 0 or less where the mean would have done as well.
    """

    what: str
    rows: int
    error: Interval
    explained: Interval
    stated: Reliability

    def __str__(self) -> str:
        return (
            f"calibration of {self.what}: {self.rows} predictions on the test split; error "
            f"{self.error}, R2 {self.explained}"
        )


@dataclass(frozen=True)
class ExpectedReturns:
    """What scores have been worth: the map that Kelly sizes by.

    Attributes:
        map: fitted on the validation split.
        rows: decisions on the test split.
        explained: there, 1 - the squared error over that of no expectation at all; 0 or less
            where the scores say nothing of returns.
    """

    map: ReturnMap
    rows: int
    explained: Interval

    def __str__(self) -> str:
        low, high = float(self.map.returns[0]) * _BP, float(self.map.returns[-1]) * _BP
        first, last = float(self.map.scores[0]), float(self.map.scores[-1])
        return (
            f"expected return of the next bar, by {self.map.samples} decisions of the validation "
            f"split: {low:.2f} bp at a score of {first:.2f}, {high:.2f} bp at {last:.2f}; of the "
            f"{self.rows} of the test split it explains {self.explained} of squared returns"
        )


@dataclass(frozen=True)
class CalibrationReport:
    """What was measured; `missing` says in a line each what was not, and why.

    cost: of a trade on the validation split, as a share of its value, which a direction must
        beat to be right (`trainers.stated.trade_cost`); None where no direction is stated.
    """

    episodes: int = 0
    cost: float | None = None
    confidences: tuple[TemperedConfidence, ...] = ()
    numbers: tuple[PredictedNumber, ...] = ()
    missing: tuple[str, ...] = ()
    returns: ExpectedReturns | None = None

    @property
    def temperatures(self) -> dict[Confidence, float]:
        """For the manifest."""
        return {found.what: found.temperature for found in self.confidences}

    def metrics(self) -> dict[str, float]:
        """Flat figures by name."""
        found: dict[str, float] = {}
        for confidence in self.confidences:
            name = f"calibration/{confidence.what}"
            found[f"{name}/temperature"] = confidence.temperature
            found[f"{name}/claims"] = float(confidence.rows)
            found[f"{name}/right"] = confidence.right
            for key in ("before", "after", "change"):
                found |= _flat(f"{name}/error_{key}", getattr(confidence, key))
        for number in self.numbers:
            name = f"calibration/{number.what}"
            found |= _flat(f"{name}/error", number.error) | _flat(f"{name}/r2", number.explained)
        if self.returns is not None:
            found |= _flat("calibration/returns/explained", self.returns.explained)
        return found

    def companions(self) -> dict[str, Callable[[Path], None]]:
        """What lies beside the policy in its artefact: file name -> what writes it."""
        return {} if self.returns is None else {RETURN_MAP_FILE: self.returns.map.save}

    def lines(self) -> list[str]:
        """For people, one line for each thing that is stated."""
        said = [str(found) for found in (*self.confidences, *self.numbers)]
        if any(found.what == DIRECTION for found in self.confidences) and self.cost is not None:
            said.append(
                f"a direction is right where the next bar moves further in it than a trade of the "
                f"reference rule cost on the validation split, {_BP * self.cost:.2f} bp"
            )
        if self.returns is not None:
            said.append(str(self.returns))
        return [*said, *self.missing]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "episodes": self.episodes,
            "cost": self.cost,
            "confidences": [_plain(found) for found in self.confidences],
            "numbers": [_plain(found) for found in self.numbers],
            "returns": None
            if self.returns is None
            else {
                "map": self.returns.map.as_dict(),
                "rows": self.returns.rows,
                "explained": asdict(self.returns.explained),
            },
            "missing": list(self.missing),
        }


def _flat(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _plain(found: TemperedConfidence | PredictedNumber) -> dict[str, Any]:
    return {
        key: {name: part.tolist() for name, part in value._asdict().items()}
        if isinstance(value, Reliability)
        else asdict(value)
        if isinstance(value, Interval)
        else value
        for key, value in vars(found).items()
    }


def write_calibration(report: CalibrationReport, folder: Path) -> list[Path]:
    """Write the report and, where something was measured, its plot; each file atomically."""
    text = json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n"
    replace(folder / REPORT_FILE, text.encode())
    if not (report.confidences or report.numbers):
        return [folder / REPORT_FILE]
    return [folder / REPORT_FILE, save_figure(plot(report), folder / PLOT_FILE)]


def plot(report: CalibrationReport) -> Figure:
    """A reliability diagram for each thing that is stated; dots are larger the more rows."""
    from matplotlib.figure import Figure

    shown: Sequence[TemperedConfidence | PredictedNumber] = (*report.confidences, *report.numbers)
    figure = Figure(figsize=(_PANEL * len(shown), _PANEL), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, found in zip(panels, shown, strict=True):
        axes.plot([0.0, 1.0], [0.0, 1.0], color="black", linewidth=0.8)
        _draw(axes, found.stated, "as stated", "tab:blue")
        if isinstance(found, TemperedConfidence):
            _draw(axes, found.tempered, f"temperature {found.temperature:.2f}", "tab:orange")
        axes.set_xlabel("stated")
        axes.set_ylabel("came")
        axes.set_title(found.what, loc="left")
        axes.legend()
    return figure


def _draw(axes: Axes, table: Reliability, label: str, colour: str) -> None:
    known = table.rows > 0
    rows = table.rows[known].double()
    sizes = _LEAST_DOT + _DOTS * rows / rows.sum()
    axes.scatter(
        table.confidence[known].numpy(),
        table.accuracy[known].numpy(),
        s=sizes.numpy(),
        color=colour,
        label=label,
    )

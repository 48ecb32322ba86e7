"""What a calibration found: one value for one key, what it was measured from, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One field of the market's configuration and what a file says of it.

    Attributes:
        key: path in `ExecutionConfig`, in dots, such as `market.flow.mean_size`.
        value: plain data for the configuration; None where the file cannot tell, so that
            the default stays.
        measured: the measured number in words, or why the file cannot tell.
        source: what it was fitted from.
        count: observations behind it.
    """

    key: str
    value: Any
    measured: str
    source: str = ""
    count: int = 0

    @property
    def comment(self) -> str:
        """One line that says where the value comes from."""
        if self.value is None:
            return f"kept at its default: {self.measured}"
        seen = f", {self.count:,} observations" if self.count else ""
        return f"{self.measured}; {self.source}{seen}" if self.source else self.measured


@dataclass(frozen=True)
class Calibration:
    """All findings of one file."""

    source: str
    fingerprint: str
    findings: tuple[Finding, ...]

    def value(self, key: str) -> Any:
        """The value found for `key`.

        Raises:
            KeyError: nothing was found for it.
        """
        found = {finding.key: finding.value for finding in self.findings}
        return found[key]

    def tree(self) -> dict[str, Any]:
        """The values as nested plain data, kept defaults left out."""
        out: dict[str, Any] = {}
        for finding in self.findings:
            if finding.value is None:
                continue
            *parents, last = finding.key.split(".")
            place = out
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = finding.value
        return out

    def with_findings(self, *newer: Finding) -> Calibration:
        """The same with findings added, or replaced where their key is known."""
        named = {finding.key: finding for finding in (*self.findings, *newer)}
        return Calibration(self.source, self.fingerprint, tuple(named.values()))


def rounded(value: float, digits: int = 4) -> float:
    """To `digits` significant digits: a fit knows no more."""
    return float(f"{value:.{digits}g}")

"""Which column of a bar file is which."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.bars import BarColumn
from configs.errors import DataError
from market.bar_table import VALUES

SYNONYMS: dict[str, tuple[str, ...]] = {
    "time": ("timestamp", "datetime", "opentime", "bartime", "date", "time", "ts"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "last", "closeprice"),
    "volume": ("volume", "vol", "v"),
}
_DROPPED = str.maketrans("", "", " _-<>\"'\t")


@dataclass(frozen=True)
class ColumnMap:
    """Positions of the columns in a row.

    time: one position, or two where date and time of day stand apart.
    values: positions of open, high, low, close, volume.
    """

    time: tuple[int, ...]
    values: tuple[int, ...]


def match_columns(header: Sequence[str], named: Mapping[BarColumn, str], name: str) -> ColumnMap:
    """Find the columns by name, without regard to case, spaces, `_`, `-` and `<>`.

    Args:
        header: the names in the file.
        named: names that the configuration gives for some of the columns.
        name: of the file, for messages.

    Raises:
        DataError: a column is missing (names a near miss) or stands there twice.
    """
    given: dict[str, str] = dict(named.items())
    plain = [_plain(cell) for cell in header]
    found: dict[str, int] = {}
    missing: list[str] = []
    for role in ("time", *VALUES):
        if role in given:
            found[role] = _given(header, role, given[role], name)
            continue
        hits = [i for synonym in SYNONYMS[role] for i, cell in enumerate(plain) if cell == synonym]
        if not hits:
            missing.append(role)
        elif role != "time" and len(hits) > 1:
            names = " and ".join(f"'{header[i]}'" for i in hits)
            raise DataError(
                f"{name}: the columns {names} both read as {role}: expected one; name the right"
                f" one by columns: {{{role}: NAME}} in the bars' configuration"
            )
        else:
            found[role] = hits[0]
    if missing:
        raise DataError(_missing(header, plain, missing, found, name))
    return ColumnMap(_time(plain, found["time"], given), tuple(found[role] for role in VALUES))


def _plain(cell: str) -> str:
    return cell.strip().lower().translate(_DROPPED)


def _given(header: Sequence[str], role: str, wanted: str, name: str) -> int:
    for index, cell in enumerate(header):
        if cell.strip() == wanted:
            return index
    close = difflib.get_close_matches(wanted, [cell.strip() for cell in header], n=1)
    hint = f"did you mean '{close[0]}'?" if close else "columns there: " + _listed(header)
    raise DataError(f"{name} has no column '{wanted}' (columns: {{{role}: {wanted}}}); {hint}")


def _time(plain: Sequence[str], time: int, given: Mapping[str, str]) -> tuple[int, ...]:
    """A `date` column with a `time` column beside it makes one stamp of both."""
    if "time" not in given and plain[time] == "date" and "time" in plain:
        return (time, plain.index("time"))
    return (time,)


def _missing(
    header: Sequence[str],
    plain: Sequence[str],
    missing: Sequence[str],
    found: Mapping[str, int],
    name: str,
) -> str:
    hints = []
    free = {cell: header[i].strip() for i, cell in enumerate(plain) if i not in found.values()}
    for role in missing:
        # One-letter synonyms are near to everything.
        wanted = [synonym for synonym in SYNONYMS[role] if len(synonym) > 2]
        near = [c for w in wanted for c in difflib.get_close_matches(w, free, n=1, cutoff=0.6)]
        hints.append(f"'{role}'" + (f" (is it '{free[near[0]]}'?)" if near else ""))
    return (
        f"{name} has no column for {' and '.join(hints)}: expected a header with time, open,"
        f" high, low, close and volume; found {_listed(header)}. Rename it, or name it by"
        f" columns: {{{missing[0]}: NAME}} in the bars' configuration"
    )


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(cell.strip()[:30] for cell in header[:12])
    return shown if len(header) <= 12 else shown + f" and {len(header) - 12} more"

"""Delimited text line by line, in bounded memory, whatever the file holds."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from configs.errors import DataError

_DELIMITERS = ",;\t|"
_SPARE_LINES = 100_000
"""Empty lines that a file may have beyond one for each other line."""

_UTF8_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": "gzip-compressed: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x28\xb5\x2f\xfd": "zstd-compressed: unpack it first",
}


class Line(NamedTuple):
    """A line that is not blank: its number from 1, its text, whether a line end follows."""

    number: int
    text: str
    ended: bool


def delimiter_of(text: str) -> str:
    """The delimiter that a line of the file speaks for: `,`, `;`, tab or `|`."""
    return max(_DELIMITERS, key=text.count)


def text_lines(
    file: BinaryIO, max_bytes: int, name: str, digest: hashlib._Hash, row: str
) -> Iterator[Line]:
    """Each line that is not blank.

    Args:
        file: open for reading bytes.
        max_bytes: longest line that is read.
        name: of the file, for messages.
        digest: updated with every byte.
        row: what a line should hold, for messages, such as "bar".

    Raises:
        DataError: a line too long, a zero byte, no UTF-8, a packed file, or far more
            empty lines than others.
    """
    number, blank = 0, 0
    while raw := file.readline(max_bytes + 1):
        digest.update(raw)
        number += 1
        if number == 1:
            for magic, meaning in _FOREIGN.items():
                if raw.startswith(magic):
                    raise DataError(f"{name} is {meaning}; expected CSV text or Parquet")
            raw = raw.removeprefix(_UTF8_BOM)
        if len(raw) > max_bytes:
            raise DataError(
                f"{name}:{number} is longer than {max_bytes} bytes: expected one {row}"
                " to a line; is it a CSV file?"
            )
        if b"\x00" in raw:
            raise DataError(f"{name}:{number} holds a zero byte: expected CSV text, not binary")
        try:
            text = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{number} is not UTF-8 text (byte 0x{raw[error.start]:02x}): expected a"
                " CSV file saved as UTF-8"
            ) from None
        if text.strip():
            yield Line(number, text, raw.endswith(b"\n"))
            continue
        blank += 1
        if blank > _SPARE_LINES + number // 2:
            raise DataError(
                f"{name} has {blank} empty lines among its first {number}: expected {row}s; is"
                " it a CSV file?"
            )


def split(text: str, delimiter: str) -> list[str] | None:
    """The fields of a line; None where its quotes do not close."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None

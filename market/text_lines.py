"""Delimited text line by line, in bounded memory, whatever the file holds."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import DataError

DELIMITERS = ",;\t|"
_UTF8_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": "gzip-compressed: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x28\xb5\x2f\xfd": "zstd-compressed: unpack it first",
}


def text_lines(
    file: BinaryIO, max_bytes: int, name: str, digest: hashlib._Hash, row: str
) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank.

    Args:
        file: open for reading bytes.
        max_bytes: longest line that is read.
        name: of the file, for messages.
        digest: updated with every byte.
        row: what a line should hold, for messages, such as "bar".

    Raises:
        DataError: a line too long, a zero byte, no UTF-8, or a packed file.
    """
    number = 0
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
            yield number, text


def split(text: str, delimiter: str) -> list[str] | None:
    """The fields of a line; None where its quotes do not close."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None

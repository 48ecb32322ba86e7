"""The append-only audit log: files of framed records, written as they come.

Why segments and not sqlite: a hot record of 1.4 kB costs 3 us p50 (9 p99) of CPU as one
`write` to a file, 16 (84) as a row of sqlite in WAL mode committed on its own, and 5 (149)
in batches of 75, where a batch is lost with the process (5,000 records of 1,400 bytes each
way, on one core of a shared machine). What `write` has taken is the kernel's: it survives the
death of the process, SIGKILL too, so that every record is acknowledged at once; `sync` makes
what was acknowledged survive a loss of power.

A segment begins with MAGIC and its schema as JSON; frames follow. A frame's head carries its
length, number, bar clock and event, and a checksum of these, so that a length is believed only
where it is what was written: a frame that runs beyond the end of the last segment is a write that
was cut off, never a damaged length. A second checksum covers head and payload.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade.events import RECORDS, SCHEMA_VERSION, Event, Payload
from configs.cascade import AuditConfig
from configs.errors import AuditError

MAGIC = b"GMAUDIT\n"
SUFFIX = ".audit"
_HEAD = struct.Struct("<IQqHH")  # bytes of payload, number, clock, event, count
_CHECKS = struct.Struct("<II")  # of the head; of head and payload
_FRAME = _HEAD.size + _CHECKS.size  # bytes before the payload
_LENGTH = struct.Struct("<I")
_CHECK = struct.Struct("<I")
_MIB = 1 << 20
_MOST_SCHEMA = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

Write = Callable[[int, bytes | bytearray], int]


def _schema() -> bytes:
    """The table of events of this version, as a segment carries it."""
    events = {
        event.name: {"number": int(event), "dtype": _described(RECORDS.get(event))}
        for event in Event
    }
    return json.dumps({"version": SCHEMA_VERSION, "events": events}).encode()


def _begin() -> bytes:
    """What a segment of this version begins with."""
    schema = _schema()
    return MAGIC + _LENGTH.pack(len(schema)) + schema + _CHECK.pack(zlib.crc32(schema))


def _segment_name(number: int) -> str:
    return f"{number:06d}{SUFFIX}"


def _described(kind: Any) -> Any:
    return None if kind is None else np.lib.format.dtype_to_descr(kind)


class AuditLog:
    """Writes one session's records into a folder of its own.

    `add` puts a record down, `acknowledge` hands all of them to the operating system: what it
    returns from is safe from the end of this process. Nothing may be acted upon before.
    """

    def __init__(
        self, folder: Path, config: AuditConfig | None = None, write: Write = os.write
    ) -> None:
        """Begin a log in `folder`, which is made, or must be empty.

        Args:
            write: puts bytes into a file's descriptor, as `os.write`; for tests of full disks.

        Raises:
            AuditError: there is a log already, or the folder cannot be written.
        """
        self.folder, self._config, self._write = folder, config or AuditConfig(), write
        self._acknowledged = -1
        self._number = 0
        self._pending = bytearray()
        self._segment, self._size, self._file = -1, 0, -1
        self._most_size = self._config.segment_mib * _MIB
        self._most_pending = self._config.pending_mib * _MIB
        try:
            self._made = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.glob(f"*{SUFFIX}")):
                raise AuditError(
                    f"{folder} holds an audit log already, and none is ever written over; name "
                    "another folder with --log"
                )
            self._open_next()
        except OSError as error:
            raise AuditError(
                f"{folder}: no audit log can be begun ({error.strerror}); without one nothing is "
                "traded: name another folder with --log"
            ) from error

    @property
    def acknowledged(self) -> int:
        """Number of the last record that is safe; -1 before the first."""
        return self._acknowledged

    @property
    def pending(self) -> int:
        """Bytes that are not acknowledged yet."""
        return len(self._pending)

    def add(self, event: Event, clock: int, payload: Payload = b"", count: int = 1) -> int:
        """Put a record down; its number. Nothing of it is safe before `acknowledge`.

        Args:
            clock: ns since 1970 UTC, of the bar clock.
            payload: of the event's dtype, `count` records; or a JSON document.
        """
        number = self._number
        head = _HEAD.pack(len(payload), number, clock, event, count)
        check = zlib.crc32(head)
        self._pending += head
        self._pending += _CHECKS.pack(check, zlib.crc32(payload, check))
        self._pending += payload
        self._number = number + 1
        return number

    def tell(self, event: Event, clock: int, **told: Any) -> int:
        """`add` with a JSON document of keywords; NaN and infinities are refused."""
        return self.add(event, clock, json.dumps(told, allow_nan=False).encode())

    def mark(self) -> tuple[int, int]:
        """Where `take_back` returns to."""
        return self._number, len(self._pending)

    def take_back(self, mark: tuple[int, int]) -> None:
        """Forget what was put down since `mark`; for a decision that could not be recorded."""
        number, size = mark
        if number <= self.acknowledged:
            raise AuditError(
                f"record {number} is acknowledged up to {self.acknowledged}: it stays for good"
            )
        self._number = number
        del self._pending[size:]

    def acknowledge(self) -> int:
        """Hand every record to the operating system; the number of the last.

        Raises:
            AuditError: the disk is full or failing. Nothing of a record is left half written,
                and all of them are kept for the next try.
        """
        if self._pending:
            if self._size >= self._most_size:
                self._rotate()
            self._put(self._pending)
            self._pending.clear()
        self._acknowledged = self._number - 1
        return self._acknowledged

    def sync(self) -> None:
        """Acknowledge, and force it to the disk itself.

        Raises:
            AuditError: see `acknowledge`.
        """
        self.acknowledge()
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    @property
    def overflowing(self) -> bool:
        """Whether more waits in memory than may."""
        return len(self._pending) > self._most_pending

    def close(self) -> None:
        """Acknowledge what is left, and close the file."""
        if self._file < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._file)
            self._file = -1

    def discard(self) -> None:
        """Take the log away again, as if it had never begun: of a session refused at its start."""
        os.close(self._file)
        self._file = -1
        for number in range(self._segment + 1):
            (self.folder / _segment_name(number)).unlink(missing_ok=True)
        for place in self._made:
            with suppress(OSError):  # another has put something there meanwhile
                place.rmdir()

    def _put(self, content: bytearray) -> None:
        """Write all of `content`, or nothing of it."""
        written = 0
        try:
            while written < len(content):
                done = self._write(self._file, content[written:] if written else content)
                written += done
        except OSError as error:
            if written:
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
            raise self._failed(error) from error
        self._size += written

    def _rotate(self) -> None:
        """Go on in a new segment; the old one is whole on the disk."""
        try:
            os.fdatasync(self._file)
            before = self._file
            self._open_next()
            os.close(before)
        except OSError as error:
            raise self._failed(error) from error

    def _open_next(self) -> None:
        path = self.folder / _segment_name(self._segment + 1)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        head = _begin()
        try:
            if self._write(file, head) != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self._size = file, len(head)
        self._segment += 1

    def _failed(self, error: OSError) -> AuditError:
        full = "is full" if error.errno in _FULL[:2] else "refuses to be written"
        return AuditError(
            f"audit log {self.folder}: the disk {full} ({error.strerror}) after record "
            f"{self.acknowledged}; nothing is traded until it can be written again: free some space"
        )


@dataclass(frozen=True)
class Record:
    """One record of a log.

    Attributes:
        number: counts from 0 without a gap.
        clock: ns since 1970 UTC, of the bar clock.
        payload: the bytes after the head.
        count: of records in it.
    """

    number: int
    clock: int
    event: Event
    count: int
    payload: bytes

    def told(self) -> dict[str, Any]:
        """The JSON document of an event without a dtype."""
        document: dict[str, Any] = json.loads(self.payload)
        return document

    def array(self) -> Any:
        """The records of an event with a dtype, [count]."""
        return np.frombuffer(self.payload, RECORDS[self.event])


class LogReader(Iterator[Record]):
    """Every whole record of a log, in order; a torn end of the last segment is left out.

    Attributes:
        torn: bytes of that end, once all records were read; the process ended as it wrote them.
        ended: whether the last record read says that the session ended; a log without such an
            end is of a process that was killed, or goes on.
    """

    def __init__(self, folder: Path) -> None:
        self.torn, self.ended = 0, False
        self._records = self._read(folder)

    def __next__(self) -> Record:
        record = next(self._records)
        self.ended = record.event == Event.SESSION_ENDED
        return record

    def _read(self, folder: Path) -> Iterator[Record]:
        segments = sorted(folder.glob(f"*{SUFFIX}"))
        if not segments:
            raise AuditError(f"{folder} holds no audit log (files *{SUFFIX}); name a log's folder")
        expected = 0
        for path in segments:
            for record in self._segment(path, last=path == segments[-1]):
                if record.number != expected:
                    raise AuditError(
                        f"{path}: it goes on with record {record.number}, expected {expected}; a "
                        "segment is missing or was altered"
                    )
                expected += 1
                yield record

    def _segment(self, path: Path, last: bool) -> Iterator[Record]:
        content = path.read_bytes()
        if last and len(content) < len(_begin()) and _begin().startswith(content):
            self.torn = len(content)
            return  # the process ended between making the file and its first record
        at = _check_head(path, content)
        while at < len(content):
            frame = _frame(path, content, at)
            if frame is None:
                if last:
                    self.torn = len(content) - at
                    return  # the process ended while it wrote: this was never acknowledged
                raise AuditError(f"{path}: the record at byte {at} is cut off, and more follow")
            at += _FRAME + len(frame.payload)
            yield frame


def read_log(folder: Path) -> LogReader:
    """The records of a log; how it ends is known once they were read.

    Raises:
        AuditError: while reading, where there is no log, it is of another version, or a record
            in it is damaged.
    """
    return LogReader(folder)


def frames(content: bytes) -> Iterator[Record]:
    """The records in bytes that a log has put down, all of them whole."""
    at = 0
    while at < len(content):
        record = _frame(Path(), content, at)
        assert record is not None
        at += _FRAME + len(record.payload)
        yield record


def _frame(path: Path, content: bytes, at: int) -> Record | None:
    """The record at byte `at`; None where it is cut off by the content's end."""
    first = at + _FRAME
    if first > len(content):
        return None
    size, number, clock, event, count = _HEAD.unpack_from(content, at)
    head, check = _CHECKS.unpack_from(content, at + _HEAD.size)
    if zlib.crc32(content[at : at + _HEAD.size]) != head:
        raise _damaged(path, "head of the record", at)
    if first + size > len(content):
        return None
    payload = content[first : first + size]
    if zlib.crc32(payload, head) != check:
        raise _damaged(path, f"record {number}", at)
    return Record(number, clock, Event(event), count, payload)


def _damaged(path: Path, what: str, at: int) -> AuditError:
    return AuditError(
        f"{path}: the {what} at byte {at} is damaged (its checksum differs); the log was altered "
        "or its disk is failing: take it from a copy"
    )


def _check_head(path: Path, content: bytes) -> int:
    """Where the first frame begins."""
    begun = len(MAGIC) + _LENGTH.size
    if content[: len(MAGIC)] != MAGIC or len(content) < begun:
        raise AuditError(f"{path} is no segment of an audit log; name a log's folder")
    (size,) = _LENGTH.unpack_from(content, len(MAGIC))
    first = begun + size
    if size > _MOST_SCHEMA or first > len(content):
        raise AuditError(f"{path}: the schema at its head is damaged")
    try:
        version = json.loads(content[begun:first]).get("version")
    except (ValueError, AttributeError) as error:
        raise AuditError(f"{path}: the schema at its head is damaged ({error})") from error
    if version != SCHEMA_VERSION:
        raise AuditError(
            f"{path} has schema version {version}, this version reads {SCHEMA_VERSION}; read it "
            "with the version of grandmodel that wrote it (SESSION_BEGUN names its commit)"
        )
    check = content[first : first + _CHECK.size]
    if check != _CHECK.pack(zlib.crc32(content[begun:first])):
        raise AuditError(f"{path}: the schema at its head is damaged (its checksum differs)")
    return int(first) + _CHECK.size

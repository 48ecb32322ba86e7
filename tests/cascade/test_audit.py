"""The audit log: what it has acknowledged is there again, whatever ends the process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cascade.audit import AuditLog, read_log
from cascade.events import SCHEMA_VERSION, Event
from configs.cascade import AuditConfig
from configs.errors import AuditError
from market.paper_layout import ENDED

ROOT = Path(__file__).resolve().parents[2]

_WRITER = """
import sys
from pathlib import Path
from cascade.audit import AuditLog
from cascade.events import Event
log = AuditLog(Path(sys.argv[1]))
number = 0
while True:
    log.tell(Event.NEW_5MIN_BAR, number, price=number / 7)
    print(log.acknowledge(), flush=True)
    number += 1
"""


class Disk:
    """`os.write` of a disk that takes `room` bytes more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, file: int, content: bytes) -> int:
        taken = min(self.room, len(content))
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= taken
        return os.write(file, content[:taken])


def test_records_come_back_as_they_were_put_down(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    ended = np.array([(3, 40, 1), (5, 60, 1)], ENDED)
    log.tell(Event.SESSION_BEGUN, 10, seed=3, share=0.1)
    log.add(Event.ORDER_CANCELLED, 11, ended.tobytes(), len(ended))
    assert log.acknowledged == -1
    assert log.acknowledge() == 1
    log.close()
    begun, cancelled = read_log(tmp_path)
    assert (begun.number, begun.clock, begun.event) == (0, 10, Event.SESSION_BEGUN)
    assert begun.told() == {"seed": 3, "share": 0.1}
    assert cancelled.count == 2
    assert (cancelled.array() == ended).all()


def test_nothing_that_was_acknowledged_is_lost_by_sigkill(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    command = [sys.executable, "-c", _WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in process.stdout.read().split() if line.strip().isdigit()]
    # The last line may itself be torn; the one before it is a promise.
    promised = max(seen[:-1])
    records = list(read_log(folder))
    assert len(records) > promised
    assert [record.number for record in records] == list(range(len(records)))
    assert records[promised].told() == {"price": promised / 7}


def test_a_torn_end_is_left_out_and_a_damaged_middle_is_told(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for number in range(5):
        log.tell(Event.NEW_5MIN_BAR, number, number=number)
        log.acknowledge()
    log.close()
    (path,) = tmp_path.glob("*.audit")
    content = path.read_bytes()
    for cut in range(1, 30):
        path.write_bytes(content[:-cut])
        assert [record.number for record in read_log(tmp_path)] == [0, 1, 2, 3]
    damaged = bytearray(content)
    damaged[-100] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(AuditError, match="damaged"):
        list(read_log(tmp_path))


def written(folder: Path, count: int = 5) -> tuple[Path, bytes]:
    """A log of one segment and `count` records: its file, and what is in it."""
    log = AuditLog(folder)
    for number in range(count):
        log.tell(Event.NEW_5MIN_BAR, number, number=number)
    log.close()
    (path,) = folder.glob("*.audit")
    return path, path.read_bytes()


def test_no_flipped_bit_is_taken_for_a_torn_end(tmp_path: Path) -> None:
    """A length that grew must not hide all records after it."""
    path, content = written(tmp_path)
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(AuditError):
            list(read_log(tmp_path))


def test_a_reader_says_how_a_log_ends(tmp_path: Path) -> None:
    path, content = written(tmp_path)
    path.write_bytes(content[:-3])
    reader = read_log(tmp_path)
    kept = list(reader)
    assert len(kept) == 4 and not reader.ended
    assert reader.torn == len(content) - 3 - content.index(b'{"number": 3}') - len('{"number": 3}')
    log = AuditLog(tmp_path / "ended")
    log.tell(Event.SESSION_ENDED, 0, steps=0)
    log.close()
    reader = read_log(tmp_path / "ended")
    assert len(list(reader)) == 1 and reader.ended and not reader.torn


def test_a_segment_that_was_only_begun_is_a_torn_end(tmp_path: Path) -> None:
    """SIGKILL between the making of a file and its first record leaves any part of its begin."""
    path, content = written(tmp_path)
    begin = content[: content.index(b'{"number": 0}') - 32]
    following = tmp_path / "000001.audit"
    for size in (0, 1, len(begin) // 2, len(begin)):
        following.write_bytes(begin[:size])
        reader = read_log(tmp_path)
        assert len(list(reader)) == 5
        assert reader.torn == (size if size < len(begin) else 0)
    following.write_bytes(b"GMAUDIX")
    with pytest.raises(AuditError, match="no segment"):
        list(read_log(tmp_path))
    following.write_bytes(content)
    path.write_bytes(begin[:10])
    with pytest.raises(AuditError, match="no segment"):
        list(read_log(tmp_path))


def test_a_full_disk_keeps_what_was_written_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk(1 << 20)
    log = AuditLog(tmp_path, write=disk.write)
    log.tell(Event.NEW_5MIN_BAR, 0, number=0)
    log.acknowledge()
    disk.room = 17  # in the middle of a record
    log.tell(Event.NEW_5MIN_BAR, 1, number=1)
    with pytest.raises(AuditError, match=r"full.*free some space"):
        log.acknowledge()
    assert log.acknowledged == 0
    assert [record.number for record in read_log(tmp_path)] == [0]
    disk.room = 1 << 20
    mark = log.mark()
    log.tell(Event.NEW_5MIN_BAR, 2, number="given up")
    log.take_back(mark)
    log.tell(Event.NEW_5MIN_BAR, 2, number=2)
    assert log.acknowledge() == 2
    log.close()
    assert [record.told()["number"] for record in read_log(tmp_path)] == [0, 1, 2]


def test_what_is_acknowledged_cannot_be_taken_back(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    mark = log.mark()
    log.tell(Event.NEW_5MIN_BAR, 0)
    log.acknowledge()
    with pytest.raises(AuditError, match="stays for good"):
        log.take_back(mark)


def test_segments_follow_each_other_and_a_missing_one_is_told(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditConfig(segment_mib=1))
    payload = bytes(300_000)
    for number in range(12):
        log.add(Event.NEW_TICK, number, payload)
        log.acknowledge()
    log.close()
    segments = sorted(tmp_path.glob("*.audit"))
    assert len(segments) > 2
    assert [record.number for record in read_log(tmp_path)] == list(range(12))
    segments[1].unlink()
    with pytest.raises(AuditError, match="missing"):
        list(read_log(tmp_path))


def test_a_log_is_never_written_over_and_other_versions_are_refused(tmp_path: Path) -> None:
    AuditLog(tmp_path).close()
    with pytest.raises(AuditError, match="already"):
        AuditLog(tmp_path)
    (path,) = tmp_path.glob("*.audit")
    mine = f'"version": {SCHEMA_VERSION}'.encode()
    path.write_bytes(path.read_bytes().replace(mine, b'"version": 9'))
    with pytest.raises(AuditError, match="version 9"):
        list(read_log(tmp_path))
    with pytest.raises(AuditError, match="no audit log"):
        list(read_log(tmp_path / "nowhere"))


def test_numbers_of_events_are_those_that_logs_hold() -> None:
    """A number that changed its meaning would make old logs lie."""
    assert Event.NEW_TICK == 1
    assert Event.EMERGENCY_STOP == 18
    assert Event.AUDIT_INTERRUPTED == 42
    assert len({int(event) for event in Event}) == len(Event)

"""How much memory a run takes."""

from __future__ import annotations

import contextlib
import resource
import sys
import time

import psutil

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB elsewhere


class PeakMemory:
    """The largest resident memory seen, of this process and all below it.

    A sum of resident sets: pages that processes share count once for each, so it
    is an upper bound of each look. What came and went between two looks is known of
    this process and of the largest child that ended, by the kernel's own record.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = 0
        self._measured = -float("inf")

    def measure(self, every_s: float = 0.0) -> int:
        """The peak in bytes, looked at anew if the last look is `every_s` old."""
        now = time.perf_counter()
        if now - self._measured < every_s:
            return self._peak
        self._measured = now
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended as we looked
                total += process.memory_info().rss
        own, ended = (
            resource.getrusage(who).ru_maxrss * _MAXRSS_BYTES
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        self._peak = max(self._peak, total, own, ended)
        return self._peak

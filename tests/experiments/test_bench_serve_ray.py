"""Ray Serve's rows of the service's benchmark: what they need, and what they count."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.bench import serve_ray
from experiments.bench.serve_load import request
from experiments.bench.serve_ray import HAPROXY, PROXY, missing, ray_figures, tree_cpu_seconds
from trainers import ray_serving

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_a_row_that_cannot_be_measured_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_serving, "NEEDED", ("no_such_package",))
    assert ray_figures(tmp_path, 1.0, 1) == []
    said = capsys.readouterr().err
    assert said.count("left out: Ray Serve needs no_such_package") == 2


def test_haproxy_wants_a_namespace_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_serving, "NEEDED", ("json",))
    assert missing(PROXY) is None
    monkeypatch.setenv(ray_serving.BINARY_VARIABLE, sys.executable)
    monkeypatch.setattr(serve_ray, "_ENTER", ("false",))
    reason = missing(HAPROXY)
    assert reason is not None and "namespace" in reason
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = missing(HAPROXY)
    assert reason is not None and "unshare" in reason


def test_what_a_process_has_started_is_counted() -> None:
    nested = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {BUSY!r}"
    nested += " + 'time.sleep(60)'])\ntime.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", nested], start_new_session=True) as process:
        try:
            until = time.monotonic() + 60.0
            while tree_cpu_seconds(process.pid) < 0.3 and time.monotonic() < until:
                time.sleep(0.05)
            assert tree_cpu_seconds(process.pid) >= 0.3
        finally:
            os.killpg(process.pid, 9)


def test_a_request_carries_prefix_and_token() -> None:
    head, content = request("a", "/a", "secret").split(b"\r\n\r\n")
    assert head.startswith(b"POST /a/decide HTTP/1.1\r\n")
    assert b"\r\nauthorization: Bearer secret\r\n" in head
    assert f"content-length: {len(content)}".encode() in head
    assert b"authorization" not in request("a")

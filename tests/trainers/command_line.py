"""The command run in this process, as a shell would see it."""

from __future__ import annotations

import sys

import pytest

from trainers import cli


def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    """`grandmodel WORDS`: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["grandmodel", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    out, err = capfd.readouterr()
    return int(done.value.code or 0), out, err

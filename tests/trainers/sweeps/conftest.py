"""A PostgreSQL server on loopback, for as long as the tests of this folder run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_STARTS_S = 60.0
_UNPRIVILEGED = ("postgres", "nobody")  # users that may own a server, which root may not


def _program(name: str) -> str | None:
    """Where Debian's packages put it, beside what is on the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def _as_user() -> tuple[list[str], int | None]:
    """What a command is begun with so that it is not root's, and the owner of its files."""
    if os.geteuid() != 0:
        return [], None
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv to be another user")
    for name in _UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        options = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return [setpriv, *options], user.pw_uid
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a fresh server without a database's name."""
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("there is no PostgreSQL server here (Debian: apt-get install postgresql)")
    prefix, owner = _as_user()
    with tempfile.TemporaryDirectory(prefix="grandmodel-pg-") as folder:
        if owner is not None:
            os.chown(folder, owner, -1)
        data = f"{folder}/data"
        made = subprocess.run(
            [*prefix, initdb, "-D", data, "-U", "tests", "--auth=trust", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert made.returncode == 0, made.stderr
        port = _free_port()
        command = [*prefix, server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        process = subprocess.Popen(
            [*command, "-F"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(port, process)
            yield f"postgresql+psycopg://tests@127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for every connection to close
            process.wait(_STARTS_S)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    end = time.monotonic() + _STARTS_S
    while True:
        assert process.poll() is None, "the server ended as it started"
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=tests dbname=postgres").close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)


@pytest.fixture
def postgres(postgres_server: str, request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"t{abs(hash(request.node.nodeid)) % 10**9}"
    address = postgres_server.replace("+psycopg", "") + "/postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    return f"{postgres_server}/{name}"

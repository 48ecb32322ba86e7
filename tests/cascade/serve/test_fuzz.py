"""Malformed requests by the hundred; `python -m experiments.serve_fuzz` sends 20,000."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.serve_fuzz import malformed
from tests.cascade.serve.conftest import NAME, Maker, Served


@pytest.fixture(scope="module")
def fuzzed(layers: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Maker(stack, layers, tmp_path_factory.mktemp("fuzz"))(burst=1_000_000)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_no_malformed_request_crashes_or_trades(fuzzed: Served, seed: int) -> None:
    before = fuzzed.standing
    method, path, headers, content = malformed(seed, NAME)
    told = {name: value.encode("latin-1") for name, value in headers.items()}

    async def ask() -> httpx.Response:
        async with fuzzed.client() as client:
            return await client.request(method, path, headers=told, content=content)

    answer = asyncio.run(ask())
    assert 400 <= answer.status_code < 500, (method, path, headers, content)
    assert set(answer.json()["error"]) == {"what", "where", "got", "expected", "remedy"}
    assert fuzzed.standing == before
    assert not fuzzed.desk.fault

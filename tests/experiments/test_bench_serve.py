"""The service's benchmark at small sizes: its figures, and what its client counts."""

from __future__ import annotations

import pytest

from experiments.bench.serve import ServeSizes, figures
from experiments.bench.serve_load import request


def test_a_request_is_one_of_http() -> None:
    head, _, content = request("paper").partition(b"\r\n\r\n")
    assert content == b'{"instrument": "paper"}'
    assert f"content-length: {len(content)}".encode() in head
    assert head.startswith(b"POST /decide HTTP/1.1\r\n")


@pytest.mark.slow
def test_every_figure_is_measured() -> None:
    sizes = ServeSizes(seconds=0.5, bars=4_000, after=3, starts=1)
    found = {figure.name: figure for figure in figures(sizes)}
    for kind in ("hot", "warm"):
        rate = found[f"http_{kind}_per_s"]
        assert rate.value > 0 and rate.reference_value is not None and rate.reference_value > 0
        assert found[f"http_{kind}_latency_p50_us"].value > 0
    assert found["errors_at_2x_overload"].value == 0
    assert found["start_to_ready_s"].value > 0
    assert found["resident_mib_per_worker"].value > found["proportional_mib_per_worker"].value

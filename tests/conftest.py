"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE_BARS = PROJECT.parent / "shared" / "data" / "NQ - 30 min - ETH.csv"

# Wall-clock limits would fail tests on a busy machine and say nothing about the code.
settings.register_profile("grandmodel", deadline=None, derandomize=True)
settings.load_profile("grandmodel")


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def sample_bars_path() -> Path:
    """The sample of real bars, which is vendor data and lies outside the repository."""
    if not SAMPLE_BARS.is_file():
        pytest.skip(f"the sample bars are not at {SAMPLE_BARS}: vendor data is not shipped")
    return SAMPLE_BARS

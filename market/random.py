"""Counter-based random numbers: a draw is a function of (key, counter) alone.

A key is derived from (seed, episode, purpose), a counter numbers the arrivals of
that purpose. What agents do can therefore never shift what the market draws, and
two policies compared on one seed meet the same exogenous events. The generator is
SplitMix64 (Steele, Lea and Flood, 2014), whose n-th output is a hash of
key + n * golden ratio, so any draw is reached directly.
"""

from __future__ import annotations

import math

import numpy as np

from market.kernels import inlined

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_SHIFT_30 = np.uint64(30)
_SHIFT_27 = np.uint64(27)
_SHIFT_31 = np.uint64(31)
_SHIFT_12 = np.uint64(12)
_ONE = np.uint64(1)
_TWO_TO_MINUS_52 = 1.0 / 4503599627370496.0

# Purposes: one stream each, so that a new one never moves the others.
PURPOSE_PATH = 1
PURPOSE_REGIME = 2
PURPOSE_FLOW = 3
PURPOSE_PARENT = 4
PURPOSE_UPSTREAM = 5
PURPOSE_BARS = 6
PURPOSE_OPENING = 7
PURPOSE_METAORDERS = 8
PURPOSE_ARRIVALS = 9
PURPOSE_KNOTS = 10
PURPOSE_ACTIVITY = 11
PURPOSE_LATENCY = 12
PURPOSE_SERIES = 13
PURPOSE_COLLAPSE = 14
PURPOSE_BOOTSTRAP = 15
PURPOSE_START = 16
PURPOSE_FINER = 17


@inlined
def hash64(key: np.uint64, counter: int) -> np.uint64:
    """64 random bits for (key, counter)."""
    z = key + (np.uint64(counter) + _ONE) * _GOLDEN
    z = (z ^ (z >> _SHIFT_30)) * _MIX_A
    z = (z ^ (z >> _SHIFT_27)) * _MIX_B
    return z ^ (z >> _SHIFT_31)


@inlined
def stream_key(seed: np.uint64, episode: int, purpose: int) -> np.uint64:
    """The key of one purpose of one episode of one seed."""
    return hash64(hash64(hash64(seed, 0), episode), purpose)


@inlined
def uniform(key: np.uint64, counter: int) -> float:
    """A number in (0, 1), never 0 and never 1."""
    return (float(hash64(key, counter) >> _SHIFT_12) + 0.5) * _TWO_TO_MINUS_52


@inlined
def normal(key: np.uint64, counter: int) -> float:
    """A standard normal number (Box-Muller on counters 2n and 2n + 1)."""
    radius = math.sqrt(-2.0 * math.log(uniform(key, 2 * counter)))
    return radius * math.cos(2.0 * math.pi * uniform(key, 2 * counter + 1))

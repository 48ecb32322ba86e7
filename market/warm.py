"""Compile the kernels ahead of their first use."""

from __future__ import annotations

import time

import numpy as np

from configs.execution import ExecutionConfig, ParentConfig
from market.decode import ACTION_WIDTH, CONFIDENCE, FIRST_WEIGHT, SHARE
from market.simulator import Simulator


def warm() -> float:
    """Compile, or load from the cache, what a decision and its execution need; seconds taken."""
    began = time.perf_counter()
    config = ExecutionConfig(parent=ParentConfig(horizon_steps=2))
    simulator = Simulator(config, 1)
    rows = np.arange(1)
    simulator.reset(rows, np.zeros(1, np.uint64))
    action = np.zeros((1, ACTION_WIDTH), np.float32)
    action[:, [CONFIDENCE, FIRST_WEIGHT, SHARE]] = 0.5
    simulator.step(rows, action)
    return time.perf_counter() - began

"""A layer with two windows whose agents see different columns of them, and policies over it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from configs.actors import ActorConfig
from configs.encoders import RegimeConfig, StructureConfig, WindowAttentionConfig
from policies.sequential import SequentialPolicy
from signals.bars.columns import POSTERIORS
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout, Window

PRICES, ROWS = ("price", "trend", "noise"), 8
REGIMES, REGIME_ROWS = ("level", *(column.name for column in POSTERIORS)), 12
SMALL: dict[str, Any] = {"width": 6}
ENCODERS = (
    StructureConfig(channels=4, kernel=3, strides=(2, 2), memory=5, **SMALL),
    RegimeConfig(patch=4, model=8, heads=2, feed_forward=8, share=1.0, **SMALL),
)
ATTENTION = WindowAttentionConfig(patch=2, model=8, heads=2, feed_forward=8, **SMALL)


def _window(names: tuple[str, ...], rows: int, prefix: str = "") -> tuple[Column, ...]:
    return tuple(
        Column(f"{prefix}{name}@{lag}", "1", -1, 1, "made up")
        for lag in range(rows - 1, -1, -1)
        for name in names
    )


def windowed_layout() -> LayerLayout:
    """price and trend are seen by `near` and `both`, noise by `both` alone.

    `far` sees all of the second window; `both` of it the newest bar alone.
    """
    near, far = _window(PRICES, ROWS), _window(REGIMES, REGIME_ROWS, "regime.")
    state = (Column("position", "1", -1, 1, "made up"),)
    choices = tuple(ActionComponent(name, name, initial=0.3) for name in ("LEFT", "STAY", "RIGHT"))
    own = tuple(c.name for c in near if not c.name.startswith("noise"))
    newest = tuple(c.name for c in far if c.name.endswith("@0"))
    every = tuple(c.name for c in near)
    views = {
        "near": (*own, "position"),
        "far": (*(c.name for c in far), "position"),
        "both": (*every, *newest, "position"),
    }
    agents = tuple(
        AgentLayout(name, (), "discrete", choices, seen, follows=name == "both")
        for name, seen in views.items()
    )
    windows = (Window(ROWS, len(PRICES)), Window(REGIME_ROWS, len(REGIMES)))
    return LayerLayout("windowed", (*near, *far, *state), agents, windows=windows)


LAYOUT = windowed_layout()
NEAR, FAR, BOTH = range(3)


def places(beginning: str, ending: str = "") -> list[int]:
    """Where columns of such names stand in a row."""
    named = enumerate(column.name for column in LAYOUT.columns)
    return [k for k, name in named if name.startswith(beginning) and name.endswith(ending)]


def rows_of(count: int, seed: int = 1) -> Tensor:
    """Random rows in [-1, 1], posteriors that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(count, LAYOUT.row_width, generator=generator) * 2 - 1
    at = ROWS * len(PRICES)
    window = rows[:, at : at + REGIME_ROWS * len(REGIMES)].view(count, REGIME_ROWS, len(REGIMES))
    window[..., 1:] = torch.softmax(3.0 * window[..., 1:], dim=-1)
    return rows


def policy_of(seed: int = 0, **changes: Any) -> SequentialPolicy:
    """A policy with every parameter moved away from its start, so that wrong wiring shows."""
    options = {"hidden": (16, 12), "output_gain": 1.0, "encoders": ENCODERS} | changes
    policy = SequentialPolicy(LAYOUT, ActorConfig(**options), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return policy


def gumbel_of(count: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, LAYOUT.noise_width, generator=generator).clamp(1e-6, 1 - 1e-6)
    return -torch.log(-torch.log(uniform))

"""What moved a policy's decisions, and where its encoders looked: tables, plots and a file.

Attributions (`policies.attribution`) say which columns an output came from, attention
(`policies.attention`) at which bars of a window an encoder looked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from policies.attention import attention_maps
from policies.attribution import STEPS, attribute, by_name
from policies.ensemble import LayerPolicy
from trainers.report import replace, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_FILE = "explanation.png"
ATTENTION_FILE = "attention.png"
DATA_FILE = "explanation.json"
_INCHES_PER_BAR, _INCHES_AROUND, _INCHES_WIDE = 0.28, 1.1, 5.0
_INCHES_PER_MAP = 2.6
_SHOWN_NAMES = 4  # of an encoder's columns, in titles


@dataclass(frozen=True)
class Explained:
    """One output of one agent over all rows: how much each column moved it.

    Attributes:
        names: of columns, without the bars' lags, the weightiest first.
        weight: float64 [names], mean absolute attribution; mean: the signed one.
        incomplete: the largest gap over rows between what columns sum to and the difference
            of the outputs, against the largest difference.
    """

    agent: str
    output: str
    names: tuple[str, ...]
    weight: NDArray[np.float64]
    mean: NDArray[np.float64]
    incomplete: float


@dataclass(frozen=True)
class Looked:
    """Where one encoder looked.

    Attributes:
        columns: that it reads, without the bars' lags. agents: that read its embedding.
        shares: float64 [rows, bars], of each bar in the embedding, oldest first; rows sum to 1.
        blocks: blocks of self-attention that the shares were followed back through.
    """

    columns: tuple[str, ...]
    agents: tuple[str, ...]
    shares: NDArray[np.float64]
    blocks: int

    @property
    def title(self) -> str:
        more = len(self.columns) - _SHOWN_NAMES
        names = ", ".join(self.columns[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
        return f"{', '.join(self.agents)}: {self.shares.shape[1]} bars of {names}"


@dataclass(frozen=True)
class Explanation:
    """Of `rows` decisions in mode."""

    rows: int
    outputs: tuple[Explained, ...]
    encoders: tuple[Looked, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; of attention the mean over decisions."""
        return {
            "rows": self.rows,
            "outputs": [
                {
                    "agent": one.agent,
                    "output": one.output,
                    "incomplete": one.incomplete,
                    "columns": {
                        name: {"weight": weight, "mean": mean}
                        for name, weight, mean in zip(
                            one.names, one.weight.tolist(), one.mean.tolist(), strict=True
                        )
                    },
                }
                for one in self.outputs
            ],
            "encoders": [
                {
                    "columns": list(one.columns),
                    "agents": list(one.agents),
                    "share_by_bar_oldest_first": one.shares.mean(0).tolist(),
                }
                for one in self.encoders
            ],
        }


def explanation(
    policy: LayerPolicy,
    agents: list[int],
    rows: NDArray[np.float32],
    steps: int = STEPS,
) -> Explanation:
    """Attributions of all outputs of `agents`, and the attention of what encoders they read."""
    outputs = tuple(one for k in agents for one in explain(policy, k, rows, steps))
    names = {policy.layout.agents[k].name for k in agents}
    encoders = tuple(one for one in looked(policy, rows) if names & set(one.agents))
    return Explanation(len(rows), outputs, encoders)


def explain(
    policy: LayerPolicy, agent: int, rows: NDArray[np.float32], steps: int = STEPS
) -> list[Explained]:
    """What moved each output of agent number `agent` from where the mean row has it.

    A discrete agent has one, the log-probability of what it chose; a box agent one for each
    component, its mean in logits.
    """
    told = policy.layout.agents[agent]
    discrete = told.kind == "discrete"
    found = []
    for number in range(1 if discrete else told.encoded_width):
        given = attribute(policy, agent, torch.from_numpy(rows), component=number, steps=steps)
        difference = given.output - given.baseline
        gap = (given.columns.sum(1) - difference).abs().max().item()
        scale = max(difference.abs().max().item(), np.finfo(np.float64).eps)
        named = by_name(policy.layout, given.columns)
        weight = np.array([values.abs().mean().item() for values in named.values()])
        mean = np.array([values.mean().item() for values in named.values()])
        order = np.argsort(-weight, kind="stable")
        names = tuple(np.array(list(named))[order].tolist())
        output = "log-probability of its choice" if discrete else told.components[number].name
        found.append(Explained(told.name, output, names, weight[order], mean[order], gap / scale))
    return found


def looked(policy: LayerPolicy, rows: NDArray[np.float32]) -> list[Looked]:
    """Where each encoder looked in `rows`; [] of a policy without encoders."""
    return [
        Looked(found.columns, found.agents, found.bars.double().numpy(), len(found.blocks))
        for found in attention_maps(policy, torch.from_numpy(rows))
    ]


def table(explained: Explained, top: int) -> Table:
    """The weightiest columns for people."""
    out = Table()
    out.add_column("column")
    for header in ("mean size", "mean"):
        out.add_column(header, justify="right")
    for name, weight, mean in zip(
        explained.names[:top], explained.weight, explained.mean, strict=False
    ):
        out.add_row(name, f"{weight:.4g}", f"{mean:+.4g}")
    return out


def attention_table(found: Looked, top: int) -> Table:
    """The bars that were looked at most."""
    out = Table()
    for header in ("bars ago", "mean share", "of an even one"):
        out.add_column(header, justify="right")
    mean = found.shares.mean(0)
    for bar in np.argsort(-mean, kind="stable")[:top]:
        out.add_row(str(len(mean) - 1 - bar), f"{mean[bar]:.2%}", f"{mean[bar] * len(mean):.2f}")
    return out


def write_explanation(
    found: Explanation, top: int, folder: Path, plot_file: Path | None = None
) -> list[Path]:
    """The plots and the figures behind them, in `folder`; each file atomically.

    plot_file: the attributions' plot, elsewhere than under its own name.
    """
    written = [save_figure(plot(list(found.outputs), top), plot_file or folder / PLOT_FILE)]
    if found.encoders:
        written.append(save_figure(attention_plot(found.encoders), folder / ATTENTION_FILE))
    text = json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n"
    replace(folder / DATA_FILE, text.encode())
    return [*written, folder / DATA_FILE]


def plot(found: list[Explained], top: int) -> Figure:
    """Bars of the weightiest columns, one panel for each output."""
    from matplotlib.figure import Figure

    height = _INCHES_AROUND + _INCHES_PER_BAR * top
    figure = Figure(figsize=(2 * _INCHES_WIDE, height * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    for axes, one in zip(panels, found, strict=True):
        shown = slice(0, top)
        axes.barh(one.names[shown], one.weight[shown])
        axes.invert_yaxis()
        axes.set_title(f"{one.agent}: {one.output}", loc="left")
        axes.set_xlabel("mean absolute attribution")
    return figure


def attention_plot(found: tuple[Looked, ...]) -> Figure:
    """Of each encoder every decision's shares by bar, and their mean beside an even one."""
    from matplotlib.figure import Figure

    size = (2 * _INCHES_WIDE, _INCHES_PER_MAP * len(found))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(found), 2, squeeze=False)
    for (left, right), one in zip(panels, found, strict=True):
        bars = one.shares.shape[1]
        ago = np.arange(bars - 1, -1, -1)
        around = (bars - 0.5, -0.5, one.shares.shape[0] - 0.5, -0.5)
        shown = left.imshow(one.shares, aspect="auto", extent=around, interpolation="nearest")
        figure.colorbar(shown, ax=left, label="share")
        left.set_title(one.title, loc="left", fontsize="small")
        left.set_ylabel("decision")
        right.step(ago, one.shares.mean(0), where="mid", label="mean")
        right.axhline(1.0 / bars, color="black", linewidth=0.8, label="even")
        right.invert_xaxis()
        right.set_ylim(bottom=0.0)
        right.legend()
        for axes in (left, right):
            axes.set_xlabel("bars ago")
    return figure

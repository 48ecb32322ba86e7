"""`bench mappo`: environment steps a CPU second of training, against stock RLlib and bare torch.

All train the toy team with equal updates (`experiments.contenders.Training`), stock at its
best of 8 and 32 environments, all in one process on one thread of torch. The contenders
take turns, so that a machine that changes its pace does so for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from experiments.bare_ppo import BarePPO
from experiments.bench.report import Figure, speed
from experiments.bench.timing import cpu_seconds
from experiments.contenders import Contender, Sharing, Training
from experiments.stock_rllib import Stock, local_ray

OURS, TORCH = "ours", "bare torch"
Measure = Literal["train", "sample"]
Rates = Mapping[tuple[str, Measure], Sequence[float]]
MakeOurs = Callable[[Sharing, Training], Contender]

# Least ratios, by sharing: to stock in training and in sampling, to bare torch in training.
_TARGETS: Mapping[Sharing, tuple[float, float, float | None]] = {
    "shared": (10.0, 40.0, 0.8),
    "separate": (4.0, 20.0, None),
}


@dataclass(frozen=True)
class MappoSizes:
    """How much the benchmark trains. Stock takes seconds where the others take tenths."""

    training: Training = field(default_factory=Training)
    stock_envs: tuple[int, ...] = (8, 32)
    rounds: int = 2
    turns: int = 4  # of the fast ones, for each of stock's


def figures(make_ours: MakeOurs, sizes: MappoSizes | None = None) -> list[Figure]:
    """Every figure of the toy team; `make_ours` gives our trainer."""
    sizes = sizes or MappoSizes()
    found: list[Figure] = []
    with local_ray():
        for sharing in _TARGETS:
            found += _figures(sharing, measured(sharing, make_ours, sizes))
    return found


def measured(sharing: Sharing, make_ours: MakeOurs, sizes: MappoSizes) -> Rates:
    """Environment steps a CPU second, by contender and measure, turn after turn."""
    fast = {
        OURS: make_ours(sharing, sizes.training),
        TORCH: BarePPO(sharing, sizes.training),
    }
    stock = {_stock(count): Stock(count, sharing, sizes.training) for count in sizes.stock_envs}
    rates: dict[tuple[str, Measure], list[float]] = defaultdict(list)
    try:
        for contender in (fast | stock).values():
            contender.iterate()  # warm: first calls allocate
            contender.sample()
        for _ in range(sizes.rounds):
            for name, slow in stock.items():
                for _ in range(sizes.turns):
                    for other, contender in fast.items():
                        _turn(rates, other, contender)
                _turn(rates, name, slow)
    finally:
        for contender in (fast | stock).values():
            if (close := getattr(contender, "close", None)) is not None:  # of those that ray holds
                close()
    return rates


def _stock(num_envs: int) -> str:
    return f"stock RLlib, {num_envs} envs"


def _turn(rates: dict[tuple[str, Measure], list[float]], name: str, contender: Contender) -> None:
    rates[name, "train"].append(steps_per_s(contender.iterate))
    rates[name, "sample"].append(steps_per_s(contender.sample))


def steps_per_s(work: Callable[[], int]) -> float:
    """Environment steps a CPU second of one call, which returns how many it took."""
    taken = 0

    def run() -> None:
        nonlocal taken
        taken = work()

    seconds = cpu_seconds(run)
    return taken / seconds


def _figures(sharing: Sharing, rates: Rates) -> list[Figure]:
    medians = {key: median(found) for key, found in rates.items()}
    names = {name for name, _ in rates} - {OURS, TORCH}
    train_target, sample_target, torch_target = _TARGETS[sharing]

    def against_stock(measure: Measure, target: float) -> list[Figure]:
        value = medians[OURS, measure]
        best = max(names, key=lambda name: medians[name, measure])
        other = medians[best, measure]
        return [
            speed(f"{measure}_steps_per_s_{sharing}", value, "steps/s", best, other),
            _ratio(f"{measure}_ratio_stock_{sharing}", value, best, other, target),
        ]

    return [
        *against_stock("train", train_target),
        _ratio(
            f"train_ratio_torch_{sharing}",
            medians[OURS, "train"],
            TORCH,
            medians[TORCH, "train"],
            torch_target,
        ),
        *against_stock("sample", sample_target),
    ]


def _ratio(
    name: str, value: float, reference: str, reference_value: float, target: float | None
) -> Figure:
    """A figure that is itself a ratio of two speeds, higher being better."""
    ratio = value / reference_value
    return Figure(name, ratio, "x", f"{reference}, steps/s", reference_value, ratio, target)

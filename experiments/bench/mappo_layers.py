"""The slower layers' part of `bench mappo`: their networks beside plain ones, and where time goes.

Both train the same environment by the same settings, in turns, in one process of their own
for each layer, whose memory is the layer's.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

from configs.train import load_train_config
from experiments.bench.mappo import steps_per_s
from experiments.bench.mappo_execution import Shares
from experiments.bench.report import Figure, speed
from experiments.ours_toy import Ours
from experiments.stock_rllib import local_ray
from trainers.layers import LAYERS
from trainers.memory import PeakMemory

SLOWER = ("strategic", "tactical")
_BASELINE = "mlp"  # the preset
_TURNS = 3
_GIGABYTE = 1e9
_MOST_GIGABYTES = 2.0


def figures() -> list[Figure]:
    """Every figure of both layers."""
    out: list[Figure] = []
    for layer in SLOWER:
        # A fresh process: nothing that another benchmark left counts as the layer's memory.
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            out += pool.submit(layer_figures, layer).result()
    return out


def layer_figures(layer: str, turns: int = _TURNS) -> list[Figure]:
    """Training steps a CPU second of one layer, its shares of time, and the process's memory."""
    memory = PeakMemory()
    with local_ray():
        ours, plain = _ours(layer, ()), _ours(layer, (_BASELINE,))
        try:
            return _measured(layer, ours, plain, turns, memory)
        finally:
            ours.close()
            plain.close()


def _ours(layer: str, presets: tuple[str, ...]) -> Ours:
    config = load_train_config(layer, presets, (), (), None)
    settings = config.mappo.model_copy(update={"runners": 0})
    return Ours(settings, LAYERS[layer].make, {"config": config.env.model_dump(mode="json")})


def _measured(layer: str, ours: Ours, plain: Ours, turns: int, memory: PeakMemory) -> list[Figure]:
    for trainer in (ours, plain):
        trainer.iterate()  # warm: kernels are compiled, episodes staggered
    shares = Shares(ours)
    fast, slow, spent = [], [], 0.0
    for _ in range(turns):
        start = time.process_time()
        slow.append(steps_per_s(ours.iterate))
        spent += time.process_time() - start
        fast.append(steps_per_s(plain.iterate))
    words = f"plain networks, preset {_BASELINE}"
    return [
        speed(f"{layer}_train_steps_per_s", median(slow), "steps/s", words, median(fast)),
        *(
            Figure(f"{layer}_share_{part}", seconds / spent, "of CPU time")
            for part, seconds in shares.seconds.items()
        ),
        Figure(
            f"{layer}_memory_gb",
            memory.measure() / _GIGABYTE,
            "GB, both in one process",
            target=_MOST_GIGABYTES,
            at_most=True,
        ),
    ]

"""Execution episodes for tests: policies, sampled states, decoding, books walked in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.market import VENUE_COUNT
from envs.execution import BatchedExecution
from envs.execution.kernel import row_seeds
from market import book as lob
from market import decode, state
from signals.execution import EXECUTION

Actions = NDArray[np.float32]
Policy = Callable[[int, NDArray[np.float32]], Actions]


def configured(**overrides: Any) -> ExecutionConfig:
    """An `ExecutionConfig` with these settings; `__` stands for a dot."""
    pairs = [f"{name.replace('__', '.')}={value}" for name, value in overrides.items()]
    return load_config(ExecutionConfig, {}, overrides=pairs)


def random_actions(
    rng: np.random.Generator, rows: int, stop: float = 0.0, extreme: bool = False
) -> Actions:
    """Joint actions; `extreme` draws corners of the boxes, 0 or 1."""
    draws = rng.random((rows, EXECUTION.action_width))
    actions = (np.rint(draws) if extreme else draws).astype(np.float32)
    weights = np.array([0.6, 0.2, 0.1, 0.1, 0.0]) * (1.0 - stop)
    weights[decode.EMERGENCY_STOP] = stop
    actions[:, decode.RISK_DECISION] = rng.choice(5, size=rows, p=weights)
    return actions


def paired_seeds(rows: int, seed: int) -> NDArray[np.uint64]:
    """Seeds in which rows 2k and 2k + 1 are the two sides of one path."""
    drawn = row_seeds(np.uint64(seed), rows)[: rows // 2] & ~np.uint64(1)
    return np.stack([drawn, drawn | np.uint64(1)], axis=1).ravel()


def play(
    policy: Policy, config: ExecutionConfig | None = None, rows: int = 512, seed: int = 1
) -> tuple[dict[str, NDArray[np.float64]], BatchedExecution]:
    """Both sides of rows / 2 paths under a policy: metrics by name, and the environment."""
    env = BatchedExecution(config, rows, paired_sides=True)
    env.reset(seeds=paired_seeds(rows, seed))
    step = 0
    while not env.terminations.all():
        env.step(policy(step, env.rows))
        step += 1
    return dict(zip(env.metric_names, env.episode_metrics.T, strict=True)), env


def by_path(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over paths (both sides together), and its standard error."""
    paths = values.reshape(-1, 2).mean(axis=1)
    return float(paths.mean()), float(paths.std() / np.sqrt(len(paths)))


class Orders(NamedTuple):
    """What a joint action came to: children (kind, venue, price, quantity, offset), cancels."""

    children: tuple[tuple[Any, ...], ...]
    cancels: tuple[int, ...]
    cancel_all: int
    stop: int
    asked: int
    carry: float


def decode_row(env: BatchedExecution, n: int, action: Actions) -> Orders:
    """`market.decode.decode` of one action in the state of row `n`, which is left as it is."""
    simulator = env.simulator
    market = simulator.market
    children = np.zeros(simulator.children.shape[1], decode.CHILD)
    cancels = np.zeros(simulator.cancels.shape[1], np.int8)
    decision = np.zeros(1, decode.DECISION)
    decode.decode(
        action,
        market.parents[n],
        market.episodes[n],
        market.depth[n],
        market.owned[n],
        simulator.rules[0],
        children,
        cancels,
        decision[0],
    )
    count = int(decision[0]["children"])
    return Orders(
        tuple(child.item() for child in children[:count]),
        tuple(int(c) for c in cancels),
        int(decision[0]["cancel_all"]),
        int(decision[0]["stop"]),
        int(decision[0]["asked"]),
        float(decision[0]["carry"]),
    )


def walk_book(env: BatchedExecution, n: int, venue: int, side: int) -> list[tuple[int, int, int]]:
    """(price, quantity of others, own quantity) of each occupied level, best first."""
    books = env.simulator.market.books
    book = n * VENUE_COUNT + venue
    levels, orders = books.levels[book], books.orders[book]
    out = []
    for price in np.flatnonzero(levels[:, lob.COUNT] > 0):
        slot, others, own = levels[price, lob.HEAD], 0, 0
        if orders[slot, lob.SIDE] != side:
            continue
        while slot >= 0:
            if orders[slot, lob.OWNER] < state.FIRST_OWN:
                others += int(orders[slot, lob.QUANTITY])
            else:
                own += int(orders[slot, lob.QUANTITY])
            slot = orders[slot, lob.NEXT]
        out.append((int(price), others, own))
    return sorted(out, key=lambda level: -side * level[0])


def own_trades(env: BatchedExecution, n: int) -> NDArray[np.int32]:
    """The tape's rows of the last step in which the parent was maker or taker."""
    market = env.simulator.market
    tape = market.tape[n, : market.tape_count[n]]
    own = (tape[:, lob.MAKER] > 0) | (tape[:, lob.TAKER] == -1)
    return tape[own]


def parent_of(env: BatchedExecution, n: int) -> dict[str, Any]:
    """A copy of the parent's record by field name."""
    record = env.simulator.market.parents[n]
    return {name: record[name].item() for name in state.PARENT.names}

"""From a view to the five agents' decisions and the child orders that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.policy import OnnxPolicy
from cascade.view import ExecutionView, view_of_simulator
from configs.execution import ExecutionConfig
from market.decode import CHILD, DECISION, URGENCY_SHIFT, decode
from market.kernels import kernel
from market.simulator import Simulator
from market.state import ACTIVE, AGGRESSIVE, OWN_PRICE, OWN_QUANTITY, SMART, VENUE
from signals.execution import EXECUTION
from signals.layout import LayerLayout

SMART_NAME = "SMART"
SIDE_NAMES = {1: "BUY", -1: "SELL"}


@dataclass(frozen=True)
class AgentDecision:
    """One agent's decision by name; `choice` where it is discrete.

    `values` are a box agent's components in [0, 1], or a discrete agent's
    probabilities of each choice.
    """

    agent: str
    values: dict[str, float]
    choice: str | None = None


@dataclass(frozen=True)
class ChildOrder:
    """An order to send `after_seconds` from the decision; `limit` is in currency.

    kind "limit" rests at `limit`; "marketable" takes what is offered up to `limit`
    and cancels the rest; "market" completes the parent at any price.
    """

    kind: str
    venue: str
    side: str
    quantity: int
    limit: float | None
    after_seconds: float


@dataclass(frozen=True)
class CancelOrder:
    """An own resting order to cancel."""

    venue: str
    price: float
    quantity: int


@dataclass(frozen=True)
class ExecutionDecision:
    """What the layer decided for one moment, and the orders it comes to.

    `urgency_correction` and `carry` belong into the parent of the next moment.
    """

    agents: tuple[AgentDecision, ...]
    orders: tuple[ChildOrder, ...]
    cancels: tuple[CancelOrder, ...]
    stop: bool
    abandoned: int
    urgency_correction: float
    carry: float

    def as_dict(self) -> dict[str, Any]:
        """The decision as plain JSON data."""
        return {
            "agents": {
                a.agent: {"choice": a.choice, "probabilities": a.values} if a.choice else a.values
                for a in self.agents
            },
            "orders": [vars(order) for order in self.orders],
            "cancels": [vars(order) for order in self.cancels],
            "stop": self.stop,
            "abandoned": self.abandoned,
            "urgency_correction": self.urgency_correction,
            "carry": self.carry,
        }


def decide(policy: OnnxPolicy, view: ExecutionView) -> ExecutionDecision:
    """The joint mode decision for `view`, and its orders.

    Raises:
        RequestError, ArtefactError: see `OnnxPolicy.decide`.
    """
    decision = policy.decide(view.row())
    agents = name_decisions(policy.layout, decision.actions[0], decision.probabilities[0])
    return orders_of(view, decision.actions[0], agents)


def name_decisions(
    layout: LayerLayout, actions: NDArray[np.float32], probabilities: NDArray[np.float32]
) -> tuple[AgentDecision, ...]:
    """Rows of actions [action_width] and discrete probabilities by agent and component."""
    named = []
    start = 0
    for index, agent in enumerate(layout.agents):
        mine = actions[layout.action_slice(index)]
        names = [component.name for component in agent.components]
        if agent.kind == "box":
            values = dict(zip(names, map(float, mine), strict=True))
            named.append(AgentDecision(agent.name, values))
            continue
        shares = map(float, probabilities[start : start + len(names)])
        named.append(
            AgentDecision(agent.name, dict(zip(names, shares, strict=True)), names[int(mine[0])])
        )
        start += len(names)
    return tuple(named)


@kernel
def _decode(
    action: Any,
    parent: Any,
    episode: Any,
    depth: Any,
    owned: Any,
    rules: Any,
    children: Any,
    cancels: Any,
    decision: Any,
) -> None:
    decode(action, parent[0], episode[0], depth, owned, rules[0], children, cancels, decision[0])


def orders_of(
    view: ExecutionView, action: NDArray[np.float32], agents: tuple[AgentDecision, ...]
) -> ExecutionDecision:
    """The child orders and cancels that a joint action comes to in `view`."""
    config = view.config
    children = np.zeros(config.child.max_children, CHILD)
    cancels = np.zeros(config.child.max_resting, np.int8)
    decision = np.zeros(1, DECISION)
    _decode(
        action,
        view.parent,
        view.episode,
        view.depth,
        view.owned,
        view.rules,
        children,
        cancels,
        decision,
    )
    parent, made = view.parent[0], decision[0]
    venues = [*(venue.name for venue in config.market.venues), SMART_NAME]
    side = SIDE_NAMES[int(parent["side"])]
    orders = [
        ChildOrder(
            kind="marketable" if child["kind"] == AGGRESSIVE else "limit",
            venue=venues[int(child["venue"])],
            side=side,
            quantity=int(child["quantity"]),
            limit=view.quoted(float(child["price"])),
            after_seconds=float(child["offset"]),
        )
        for child in children[: int(made["children"])]
    ]
    stop = bool(made["stop"])
    abandoned = 0
    if stop and parent["reduces_risk"]:
        quantity = int(parent["remaining"])
        orders = [ChildOrder("market", venues[SMART], side, quantity, None, 0.0)]
    elif stop:
        abandoned = int(parent["remaining"])
    withdrawn = tuple(
        CancelOrder(
            venue=venues[int(own[VENUE])],
            price=view.quoted(float(own[OWN_PRICE])),
            quantity=int(own[OWN_QUANTITY]),
        )
        for own, flag in zip(view.owned, cancels, strict=True)
        if flag and own[ACTIVE]
    )
    return ExecutionDecision(
        agents=agents,
        orders=tuple(orders),
        cancels=withdrawn,
        stop=stop,
        abandoned=abandoned,
        urgency_correction=2.0 * float(action[URGENCY_SHIFT]) - 1.0,
        carry=float(made["carry"]),
    )


def played_view(
    policy: OnnxPolicy, config: ExecutionConfig, seed: int, steps: int
) -> tuple[ExecutionView, int]:
    """A view from the simulator, after the policy itself has worked `steps` steps of a parent.

    Returns:
        The view and the steps taken: fewer where the parent was done before.
    """
    simulator = Simulator(config, 1, split="test")
    rows = np.zeros(1, np.int64)
    simulator.reset(rows, np.array([seed], np.uint64))
    view = view_of_simulator(simulator, 0)
    for step in range(steps):
        before = simulator.state_dict()
        simulator.step(rows, policy.act(view.row()))
        if simulator.market.parents["done"][0]:
            simulator.load_state(before)
            return view, step
    return view, steps


def warm(config: ExecutionConfig) -> None:
    """Compile and cache every kernel that a decision runs."""
    simulator = Simulator(config, 1)
    rows = np.zeros(1, np.int64)
    simulator.reset(rows, np.zeros(1, np.uint64))
    view = view_of_simulator(simulator, 0)
    view.row()
    action = np.zeros((1, EXECUTION.action_width), np.float32)
    orders_of(view, action[0], ())
    simulator.step(rows, action)

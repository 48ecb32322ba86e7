"""A step of a parent order that somebody else works, in books of their own.

The caller keeps the state: books, parent order, what rests. The session lends what it knows: its
execution artefact in mode, what its layers above say now (unless the caller says it), and its
rules with their variance, over an account that holds the caller's position alone. Nothing of
the session's own account or orders moves. It is recorded with all that it depends on, so that a
replay decides it again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade.book_state import BookState, book_state_of
from cascade.engine import Engine
from cascade.events import DECIDED, Event
from cascade.hot import (
    FAULTS,
    SOUND,
    UNITS_REFUSED,
    Judging,
    decider,
    hot_arrays,
    read_step,
    trust_rules,
)
from cascade.told import Teller
from cascade.view import ExecutionView, view_of_book
from configs.errors import AuditError, RequestError
from configs.execution import ExecutionConfig
from market.decode import URGENCY_SHIFT
from market.orders.layout import BUY, SELL
from signals.upstream import CONTEXT_WIDTH, sign_context

MOST_POSITION = (1 << 31) - 1  # units; as quantities of books
_NS = 1_000_000_000
_UPSTREAM = "upstream"


def decide_book(engine: Engine, fields: Any, position: int) -> dict[str, Any]:
    """The decision on one step, as plain data; its record is acknowledged.

    Args:
        fields: a `BookState` as plain JSON data.
        position: signed units that the caller holds.

    Raises:
        RequestError: the state does not add up, or the session has no bar yet.
        ArtefactError: the network's answer is none.
        AuditError: it could not be recorded, and is not to be acted upon.
    """
    state = book_state_of(fields, "of the request")
    config: ExecutionConfig = engine.models.active["execution"].config
    view = view_of_book(state, config)
    decided = _decided(engine, state, view, position)
    mark = engine.sink.mark()
    engine.sink.tell(
        Event.BOOK_DECIDED, engine.clock, book=fields, position=position, decision=decided
    )
    try:
        engine.sink.acknowledge()
    except AuditError:
        engine.sink.take_back(mark)
        raise
    return decided


def _decided(
    engine: Engine, state: BookState, view: ExecutionView, position: int
) -> dict[str, Any]:
    model, guard = engine.models.active["execution"], engine.guard
    if guard is None:
        raise RequestError("book state: the session has had no bar, by which its rules would judge")
    config: ExecutionConfig = model.config
    heard, work = hot_arrays(config.child.max_children, config.child.max_resting)
    context, side = view.context, BUY if state.parent.side == "BUY" else SELL
    if _UPSTREAM not in state.model_fields_set:
        context = np.zeros(CONTEXT_WIDTH)
        sign_context(engine.upper.context, side, context)
    fault = read_step(
        heard, view.parent, view.episode, view.depth, view.owned, context, engine.rules,
        engine.config.freshness.silent_steps, trust_rules(engine.config.freshness), 0, 0, model.row,
    )  # fmt: skip
    if fault != SOUND:
        raise RequestError(f"book state: {FAULTS[fault]}: expected books and an order that fit")
    model.decide()
    arrival = view.price(float(view.parent["arrival"][0]))
    gate = guard.apart(position, arrival)
    kept = gate.account.copy(), gate.state.copy()
    judging = Judging(gate.account, gate.limits, gate.state, *kept, engine.rules)
    decider(work, judging, guard.tick)(model.actions, DECIDED, 0, engine.clock / _NS)
    teller, base = Teller(config), float(view.episode["base"][0])
    return {
        "action": model.actions.tolist(),
        "refused_units": int(work.counts[UNITS_REFUSED]),
        "stop": bool(work.acted["stop"][0]),
        "orders": teller.orders(work, base, side),
        "cancels": teller.cancels(work, base),
        # What the next step's parent is to be given.
        "urgency_correction": 2.0 * float(model.actions[URGENCY_SHIFT]) - 1.0,
        "carry": float(work.decision["carry"][0]),
    }


__all__ = ["MOST_POSITION", "decide_book"]

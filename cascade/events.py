"""What an audit log records: one table of events, and the records that they carry.

SPEC section 8 names the first eighteen; the others are what replay and operations need
besides. An event's payload is either an array of its dtype or, where it has none, a JSON
document, whose floats read back to the bit.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from configs.market import VENUE_COUNT
from market.decode import ACTION_WIDTH, CHILD
from market.paper_layout import ENDED, FILL
from market.state import EPISODE, LEVELS_SEEN, OWNED_FIELDS, PARENT
from signals.upstream import CONTEXT_WIDTH

Payload = bytes | memoryview

SCHEMA_VERSION = 4  # rises whenever a record's meaning or dtype changes


class Event(IntEnum):
    """Events by the number that stands in the log; numbers are never used again."""

    NEW_TICK = 1  # a step's inputs: quotes, parent order, own resting orders
    NEW_5MIN_BAR = 2  # a closed bar of the tactical length, and the account then
    NEW_30MIN_BAR = 3  # a closed bar of the strategic length
    INDICATORS_READY = 4  # whether a layer's windows are whole
    SYNERGY_DETECTED = 5
    STRATEGIC_DECISION = 6
    TACTICAL_DECISION = 7
    TRADE_QUALIFIED = 8  # a parent order that the rules let through
    TRADE_REJECTED = 9  # a parent order that the rules refuse or cut, and why
    EXECUTE_TRADE = 10  # the joint action of the five execution agents
    ORDER_SUBMITTED = 11  # child orders handed to the venues
    ORDER_FILLED = 12
    ORDER_CANCELLED = 13
    TRADE_CLOSED = 14  # a parent order is done: what it came to
    RISK_BREACH = 15
    VAR_UPDATE = 16
    KELLY_SIZING = 17  # what of a target the expected return bears
    EMERGENCY_STOP = 18
    SESSION_BEGUN = 32  # artefacts, settings, seed
    SESSION_ENDED = 33
    LAYER_CALLED = 34  # of a call that was not answered at once: attempts, and what came of it
    LAYER_FELL_BACK = 35
    DEGRADED = 36
    RECOVERED = 37
    ARTEFACT_CHANGED = 38
    INPUT_REFUSED = 39  # bars or quotes that nothing may be decided on
    ORDER_REJECTED = 40  # by a venue
    CANCEL_SENT = 41
    STEP_REPORTED = 44  # what venues say of a step: fills and ends follow
    RULES_REFUSED = 43  # child orders that the rules do not let through, or not whole
    STOP_LIFTED = 45  # a person lets go of an emergency stop
    PAST_BARS = 46  # bars that had closed before the session began to decide
    BOOK_DECIDED = 47  # a step of somebody else's parent order, in books of their own
    AUDIT_INTERRUPTED = 42  # how long nothing could be recorded, and nothing was traded


# A closed bar of the tactical length, as `signals.bars.streams.Bar`.
BAR = np.dtype(
    [
        ("start", np.int64),  # ns since 1970 UTC
        ("open", np.float64),
        ("high", np.float64),
        ("low", np.float64),
        ("close", np.float64),
        ("volume", np.float64),
    ]
)

# A step's inputs. Active rows of own resting orders follow it, `count` of them, as OWNED.
TICK = np.dtype(
    [
        ("step", np.int64),  # hot steps of the session so far
        ("bar", np.int64),  # number of the tactical bar that is played
        ("parent", PARENT),
        ("episode", EPISODE),
        ("depth", np.int32, (VENUE_COUNT, 2, LEVELS_SEEN, 2)),
        ("context", np.float64, CONTEXT_WIDTH),
    ]
)
OWNED = np.dtype([("index", np.int32), ("fields", np.int32, OWNED_FIELDS)])

# How a decision came about.
DECIDED, REPEATED, HELD, REFUSED = range(4)
SOURCES = ("decided", "repeated", "held", "refused")

ACTED = np.dtype(
    [
        ("step", np.int64),
        ("source", np.int64),  # DECIDED, REPEATED (last valid), HELD, or REFUSED (bad data)
        ("action", np.float32, ACTION_WIDTH),
        ("children", np.int64),
        ("asked", np.int64),
        ("refused", np.int64),  # child orders that the rules did not let through
        ("stop", np.int64),
        ("complete", np.int64),  # whether what is left may cross, at the horizon or by a stop
        ("limit", np.int64),  # the worst level of the ladder at which it does, where it may
        ("carry", np.float64),
    ]
)

# A child order, as `decode` makes it, with its number in the session.
ORDER = np.dtype([("id", np.int64), ("child", CHILD)])
REFUSAL = np.dtype(
    [
        ("order", ORDER),
        ("action", np.int64),  # as `market.risk.layout.VERDICTS`
        ("reason", np.int64),  # as `market.risk.layout.REASONS`
        ("reasons", np.int64),  # one bit of each that spoke
        ("allowed", np.int64),  # units
    ]
)
CANCEL = np.dtype([("index", np.int64)])  # of an own resting order

RECORDS: dict[Event, Any] = {
    Event.PAST_BARS: BAR,
    Event.NEW_TICK: TICK,
    Event.EXECUTE_TRADE: ACTED,
    Event.RULES_REFUSED: REFUSAL,
    Event.ORDER_SUBMITTED: ORDER,
    Event.ORDER_FILLED: FILL,
    Event.ORDER_CANCELLED: ENDED,
    Event.ORDER_REJECTED: ENDED,
    Event.CANCEL_SENT: CANCEL,
}

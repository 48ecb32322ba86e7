"""The OpenAPI description of the service, and a page that shows it without any network."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cascade.advice import MOST_POSITION
from cascade.book_state import BookState
from cascade.models import LAYERS
from cascade.serve.desk import BOOK as BOOK_KIND
from cascade.serve.desk import FULL, HOT, WARM
from cascade.serve.requests import (
    BOOK,
    INSTRUMENT,
    LAYER,
    MOST_REASON,
    POSITION,
    REASON,
    TIME,
)
from cascade.serve.steering import LET_GO, RELOAD, ROLLBACK, STOP

_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_NS = {"type": "integer", "format": "int64", "minimum": 0, "description": "ns since 1970 UTC"}

ASK: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [INSTRUMENT],
    "properties": {
        INSTRUMENT: {**_TEXT, "description": "as /health lists them"},
        TIME: {
            "type": ["integer", "null"],
            "format": "int64",
            "minimum": 0,
            "maximum": (1 << 63) - 1,
            "description": "the moment to decide, ns since 1970 UTC; left out: the one that is due",
        },
        BOOK: {
            **BookState.model_json_schema(ref_template="#/components/schemas/{model}"),
            "description": "the caller's own books and parent order, of which one step is decided "
            "and nothing kept; without a time. Left out, 'upstream' is what the session's layers "
            "say now",
        },
        POSITION: {
            **_WHOLE,
            "minimum": -MOST_POSITION,
            "maximum": MOST_POSITION,
            "description": "signed units that the caller holds, beside a book; 0 where left out",
        },
    },
}
_OF_BOOK = ASK["properties"][BOOK].pop("$defs")
_ORDER = {
    "type": "object",
    "properties": {
        "id": {**_WHOLE, "description": "counts over the session"},
        "kind": {"enum": ["limit", "marketable"]},
        "venue": _TEXT,
        "side": {"enum": ["BUY", "SELL"]},
        "quantity": {**_WHOLE, "exclusiveMinimum": 0},
        "limit": {**_NUMBER, "description": "currency; the worst price of a marketable order"},
        "after_seconds": {**_NUMBER, "minimum": 0, "description": "from the decision"},
    },
    "required": ["id", "kind", "venue", "side", "quantity", "limit", "after_seconds"],
}
_CANCEL = {
    "type": "object",
    "properties": {"venue": _TEXT, "limit": _NUMBER, "quantity": _WHOLE},
    "required": ["venue", "limit", "quantity"],
}
DECISION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "instrument": _TEXT,
        "time": _NS,
        "kind": {"enum": [HOT, WARM, FULL], "description": "which layers were due"},
        "plan": {**_WHOLE, "description": "units of the bar's parent order, sells below 0"},
        "source": {
            "type": ["string", "null"],
            "enum": ["decided", "repeated", "held", "refused", None],
            "description": "how the execution agents' action came about; null without a parent",
        },
        "step": {"type": ["integer", "null"], "description": "hot decisions before this one"},
        "action": {"type": "array", "items": _NUMBER, "description": "of the execution agents"},
        "refused_units": {**_WHOLE, "description": "that the rules did not let through"},
        "stop": {"type": "boolean", "description": "EMERGENCY_STOP"},
        "orders": {"type": "array", "items": _ORDER},
        "cancels": {"type": "array", "items": _CANCEL},
        "latency_us": {**_NUMBER, "description": "wall time of the layers and rules"},
        "record": {**_WHOLE, "description": "number of the last safe audit record"},
        "next": {**_NS, "description": "the moment that is due then, ns since 1970 UTC"},
    },
    "required": [
        "instrument", "time", "kind", "plan", "source", "step", "action", "refused_units", "stop",
        "orders", "cancels", "latency_us", "record", "next",
    ],
}  # fmt: skip
_OWN = ("action", "refused_units", "stop", "orders", "cancels", "latency_us", "record")
BOOK_DECISION: dict[str, Any] = {
    "type": "object",
    "properties": {
        INSTRUMENT: _TEXT,
        "kind": {"const": BOOK_KIND},
        **{name: DECISION["properties"][name] for name in _OWN},
        "urgency_correction": {**_NUMBER, "description": "of the next step's parent"},
        "carry": {**_NUMBER, "description": "of the next step's parent"},
    },
    "required": [INSTRUMENT, "kind", *_OWN, "urgency_correction", "carry"],
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: _TEXT for name in ("what", "where", "got", "expected", "remedy")},
            "required": ["what", "where", "got", "expected", "remedy"],
        }
    },
    "required": ["error"],
}
_DIGESTS = {"type": "object", "additionalProperties": _TEXT}
STEER: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        INSTRUMENT: {
            "type": ["string", "null"],
            "description": "left out: every one of this worker",
        },
        REASON: {**_TEXT, "maxLength": MOST_REASON, "description": "for the audit log"},
    },
}
BACK: dict[str, Any] = {
    **STEER,
    "required": [LAYER],
    "properties": {**STEER["properties"], LAYER: {"enum": list(LAYERS)}},
}
STEERED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "instruments": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "stopped": {"type": "boolean", "description": "whether a stop holds"},
                    "layers": {**_DIGESTS, "description": "of a reload: kept or taken"},
                    "models": {**_DIGESTS, "description": "digests in use, by layer"},
                    "record": {**_WHOLE, "description": "number of the last safe audit record"},
                },
                "required": ["models", "record"],
            },
        }
    },
    "required": ["instruments"],
}
_DECISIONS = [{"$ref": f"#/components/schemas/{name}"} for name in ("Decision", "BookDecision")]
_STEERS = {
    STOP: ("Emergency stop: nothing goes but toward flat, until let go", "Steer"),
    LET_GO: ("Lift an emergency stop, whoever stopped", "Steer"),
    RELOAD: ("Take the artefacts that are champions now, between two decisions", "Steer"),
    ROLLBACK: ("Go back to a layer's artefact before the present one", "Back"),
}
_STANDING = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
_REFUSALS = {
    "400": "not HTTP",
    "401": "the token is missing or wrong",
    "403": "there is no token: asked by another than a loopback name, or to be steered",
    "404": "no such instrument, or path",
    "405": "another method is expected",
    "408": "the head or the body did not come in time",
    "409": "the moment is not due, or the artefact is refused",
    "410": "the instrument's bars have ended",
    "413": "the body is too large",
    "414": "the path is too long",
    "415": "the body is not declared as JSON",
    "421": "another worker works the instrument; its address stands in 'expected'",
    "422": "the request is malformed",
    "429": "too many requests, or connections, of this client",
    "431": "the head is too large",
    "503": "not ready, out of service, overloaded; or the moment has gone by unrecorded, without "
    "Retry-After",
}


def _json(told: str, schema: Any) -> dict[str, Any]:
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _refused(*statuses: str) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {status: _json(_REFUSALS[status], error) for status in statuses}


def _get(summary: str, answer: dict[str, Any], *refusals: str) -> dict[str, Any]:
    answers = {"200": answer, **_refused("401", "403", "404", "405", "429", *refusals)}
    return {"get": {"summary": summary, "responses": answers}}


def _steer(path: str) -> dict[str, Any]:
    summary, asked = _STEERS[path]
    schema = {"$ref": f"#/components/schemas/{asked}"}
    statuses = ("401", "403", "404", "405", "408", "409", "413", "415", "421", "422", "429", "503")
    return {
        "post": {
            "summary": f"{summary}. Only where the service has a token",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            },
            "responses": {
                "200": _json("done", {"$ref": "#/components/schemas/Steered"}),
                **_refused(*statuses),
            },
        }
    }


def openapi(token: bool) -> dict[str, Any]:
    """The description, by OpenAPI 3.1."""
    text = {"description": "counters", "content": {"text/plain": {"schema": _TEXT}}}
    page = {"description": "this page", "content": {"text/html": {"schema": _TEXT}}}
    standing = {"$ref": "#/components/schemas/Standing"}
    ready = _get("Whether it may be traded by, and why not", _json("ready", standing))
    ready["get"]["responses"]["503"] = _json("not ready: the reasons", standing)
    decide = {
        "summary": "Decide a moment of an instrument: each moment once",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}},
        },
        "responses": {
            "200": _json("the decision", {"oneOf": _DECISIONS}),
            **_refused(*sorted(_REFUSALS)),
        },
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "grandmodel",
            "version": _version(),
            "description": "Decisions of the cascade on paper. /events is a WebSocket that sends "
            "every audit record, one JSON text each, once it is safe.",
        },
        "paths": {
            "/decide": {"post": decide},
            **{path: _steer(path) for path in _STEERS},
            "/health": _get("How it fares", _json("alive", standing)),
            "/ready": ready,
            "/metrics": _get("For Prometheus", text),
            "/openapi.json": _get("This description", _json("it", {"type": "object"})),
            "/docs": _get("This description for people", page),
        },
        "components": {
            "schemas": {
                "Ask": ASK, "Decision": DECISION, "Error": _ERROR, "Standing": _STANDING,
                "BookDecision": BOOK_DECISION, "Steer": STEER, "Back": BACK, "Steered": STEERED,
                **_OF_BOOK,
            }
        },
    }  # fmt: skip
    if token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _version() -> str:
    try:
        return version("grandmodel")
    except PackageNotFoundError:
        return "uninstalled"


def page(described: dict[str, Any]) -> str:
    """The description for people; one file, nothing fetched."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>grandmodel</title><style>"
        "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f4;padding:.7rem;overflow:auto}td{padding:.1rem 1rem .1rem 0;"
        "vertical-align:top}</style><h1>grandmodel</h1>"
        f"<p>{html.escape(described['info']['description'])} "
        "<a href=openapi.json>openapi.json</a></p>"
    ]
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            parts.append(f"<h2>{method.upper()} {html.escape(path)}</h2>")
            parts.append(f"<p>{html.escape(told['summary'])}</p>{_answers(told['responses'])}")
    for name, schema in described["components"]["schemas"].items():
        text = html.escape(json.dumps(schema, indent=1))
        parts.append(f"<h2 id={name}>{name}</h2><pre>{text}</pre>")
    return "".join(parts)


def _answers(responses: dict[str, Any]) -> str:
    rows: Sequence[str] = [
        f"<tr><td>{status}<td>{html.escape(told['description'])}"
        for status, told in responses.items()
    ]
    return f"<table>{''.join(rows)}</table>"

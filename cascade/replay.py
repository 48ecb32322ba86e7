"""A session again from its log: every decision, compared byte by byte.

The log holds all that decisions depend on: bars, quotes, what venues reported, what layers'
calls came to, and when artefacts changed. They are given to an engine of the same artefacts
in the same order; what it records must be what was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cascade.advice import decide_book
from cascade.artefact import read_manifest
from cascade.audit import Record, read_log
from cascade.deadlines import SMOOTH, Outcome, ToldCaller
from cascade.engine import Engine
from cascade.events import OWNED, RECORDS, REFUSED, TICK, Event, Payload
from cascade.models import LayerModel, Models, load_model
from configs.cascade import CascadeConfig
from configs.errors import ArtefactError, AuditError
from configs.loading import load_config
from market.account import ACCOUNT
from market.paper_layout import ENDED, FILL
from market.state import OWNED_FIELDS
from signals.bars.streams import Bar

# Records that begin what an engine is given; those after one are what it made of it.
_INPUTS = frozenset(
    {
        Event.PAST_BARS,
        Event.NEW_5MIN_BAR,
        Event.NEW_TICK,
        Event.STEP_REPORTED,
        Event.TRADE_CLOSED,
        Event.BOOK_DECIDED,
        Event.ARTEFACT_CHANGED,
        Event.STOP_LIFTED,
        Event.AUDIT_INTERRUPTED,
        Event.SESSION_ENDED,
    }
)
_LAYER_OF = {
    Event.STRATEGIC_DECISION: "strategic",
    Event.TACTICAL_DECISION: "tactical",
    Event.EXECUTE_TRADE: "execution",
}


@dataclass(frozen=True)
class Emitted:
    """A record as an engine puts it down."""

    event: Event
    clock: int
    payload: bytes
    count: int


class Collector:
    """A sink that keeps records in memory.

    Attributes:
        failing: how many acknowledgements fail from now on, as those of a full disk.
    """

    def __init__(self) -> None:
        self.records: list[Emitted] = []
        self.failing = 0

    @property
    def overflowing(self) -> bool:
        return False

    @property
    def acknowledged(self) -> int:
        return len(self.records) - 1

    def add(self, event: Event, clock: int, payload: Payload = b"", count: int = 1) -> int:
        self.records.append(Emitted(event, clock, bytes(payload), count))
        return len(self.records)

    def tell(self, event: Event, clock: int, **told: Any) -> int:
        return self.add(event, clock, json.dumps(told, allow_nan=False).encode())

    def mark(self) -> tuple[int, int]:
        return len(self.records), 0

    def take_back(self, mark: tuple[int, int]) -> None:
        del self.records[mark[0] :]

    def acknowledge(self) -> int:
        if self.failing:
            self.failing -= 1
            raise AuditError("the log could not be written then")
        return len(self.records)

    def sync(self) -> None:
        self.acknowledge()

    def taken(self) -> list[Emitted]:
        """What has come since the last call."""
        records, self.records = self.records, []
        return records


@dataclass(frozen=True)
class Difference:
    """Where a replay first differs from its log."""

    number: int
    clock: int
    what: str

    def __str__(self) -> str:
        stamp = np.datetime64(self.clock, "ns").astype("datetime64[ms]")
        return f"record {self.number} at {stamp} UTC: {self.what}"


@dataclass(frozen=True)
class Replayed:
    """What a replay came to.

    Attributes:
        records: of the log.
        decisions: of all layers among them, and steps of execution.
        difference: the first; None where every record came again.
        torn: bytes of a cut-off record that the log ends with, which is left out.
        ended: whether the session's end is on record; a killed one's is not. None, as `torn`,
            where the replay differs, and the log was read no further.
    """

    records: int
    decisions: int
    steps: int
    difference: Difference | None
    torn: int | None = None
    ended: bool | None = None


def replay(folder: Path, models: Mapping[str, Sequence[Path]] | None = None) -> Replayed:
    """Give a log's inputs to its artefacts again, and compare everything they decide.

    Args:
        models: folders of artefacts by layer, where they no longer lie where the log says. Which
            of them is meant, a network's digest tells: a layer may have had several.

    Raises:
        AuditError: the log cannot be read. ArtefactError: an artefact of it is in no folder.
    """
    records = read_log(folder)
    first = next(records, None)
    if first is None or first.event != Event.SESSION_BEGUN:
        raise AuditError(f"{folder}: the log holds no whole SESSION_BEGUN; nothing can be replayed")
    found = _Replay(first, dict(models or {})).run(chain([first], records))
    if found.difference is not None:
        return found
    return replace(found, torn=records.torn, ended=records.ended)


class _Replay:
    def __init__(self, first: Record, folders: dict[str, Sequence[Path]]) -> None:
        told = first.told()
        self._folders, self._sink, self._caller = folders, Collector(), ToldCaller()
        active = {
            layer: self._model(layer, which["folder"], which["digest"])
            for layer, which in told["models"].items()
        }
        config = load_config(CascadeConfig, told["config"])
        self._engine = Engine(Models(active), config, self._sink, self._caller, first.clock)
        # Where artefacts lie is no decision.
        (begun,) = self._sink.taken()
        mine = json.loads(begun.payload)
        for layer in told["models"]:
            mine["models"][layer]["folder"] = told["models"][layer]["folder"]
        self._begun = Emitted(begun.event, begun.clock, json.dumps(mine).encode(), 1)

    def _model(self, layer: str, folder: str, digest: str) -> LayerModel[Any]:
        return load_model(layer, _find(layer, digest, self._folders.get(layer, ()), Path(folder)))

    def run(self, records: Iterator[Record]) -> Replayed:
        count = decisions = steps = 0
        for group, last in _with_last(_groups(records)):
            count += len(group)
            decisions += sum(record.event in _LAYER_OF for record in group)
            steps += sum(record.event == Event.EXECUTE_TRADE for record in group)
            made = self._feed(group)
            # A process that was killed may have left its last group without its end.
            cut = last and group[0].event != Event.SESSION_ENDED
            difference = _first_difference(group, made[: len(group)] if cut else made)
            if difference is not None:
                return Replayed(count, decisions, steps, difference)
        return Replayed(count, decisions, steps, None)

    def _feed(self, group: list[Record]) -> list[Emitted]:
        """Give the engine a group's input; what it records, that input included."""
        head, engine = group[0], self._engine
        self._caller.told = _outcomes(group)
        if head.event == Event.SESSION_BEGUN:
            return [self._begun]
        if head.event == Event.NEW_5MIN_BAR:
            self._bar(head.told())
        elif head.event == Event.NEW_TICK:
            self._tick(head)
        elif head.event == Event.ARTEFACT_CHANGED:
            told = head.told()
            engine.take_model(self._model(told["layer"], told["folder"], told["digest"]))
            self._sink.taken()
            return [_echo(head)]
        else:
            return self._told(group)
        return self._sink.taken()

    def _told(self, group: list[Record]) -> list[Emitted]:
        """Inputs that change what the engine knows, and decide nothing."""
        head, engine = group[0], self._engine
        if head.event == Event.PAST_BARS:
            engine.on_past(head.array())
            return self._sink.taken()
        if head.event == Event.BOOK_DECIDED:
            told = head.told()
            decide_book(engine, told["book"], told["position"])
            return self._sink.taken()
        if head.event == Event.STEP_REPORTED:
            found = {record.event: record for record in group}
            engine.on_report(
                head.clock,
                _rows(found.get(Event.ORDER_FILLED), FILL),
                _rows(found.get(Event.ORDER_CANCELLED), ENDED),
                _rows(found.get(Event.ORDER_REJECTED), ENDED),
                head.told()["forced"],
            )
            return self._sink.taken()
        if head.event == Event.TRADE_CLOSED:
            engine.on_closed(head.clock, **head.told())
            return self._sink.taken()
        if head.event == Event.AUDIT_INTERRUPTED:
            engine.recording.resume()
        elif head.event == Event.EMERGENCY_STOP:
            engine.stop(head.told()["reason"])
            return self._sink.taken()
        elif head.event == Event.STOP_LIFTED:
            engine.let_go(head.told()["reason"])
            return self._sink.taken()
        return [_echo(record) for record in group]

    def _bar(self, told: dict[str, Any]) -> None:
        account = np.frombuffer(bytes.fromhex(told["account"]), ACCOUNT).copy()
        self._sink.failing = 0 if told["recording"] else 1
        bar = Bar(told["start"], *(float(value) for value in told["bar"]))
        self._engine.on_bar(bar, told["arrived"], account, told["number"])
        self._sink.failing = 0

    def _tick(self, head: Record) -> None:
        tick = np.frombuffer(head.payload, TICK, 1)
        engine = self._engine
        resting = np.zeros((len(engine.hot.cancels), OWNED_FIELDS), np.int32)
        rows = np.frombuffer(head.payload, OWNED, head.count, TICK.itemsize)
        resting[rows["index"]] = rows["fields"]
        engine.steps = int(tick["step"][0])
        parent, episode = tick["parent"].copy(), tick["episode"].copy()
        engine.on_step(parent, episode, tick["depth"][0].copy(), resting)


def _find(layer: str, digest: str, given: Sequence[Path], recorded: Path) -> Path:
    """The folder that holds a layer's network of this digest.

    Raises:
        ArtefactError: none of those that were given does, nor the one that the log names; or a
            given one holds no artefact.
    """
    places = [(place, read_manifest(place).onnx_sha256) for place in given]
    with suppress(ArtefactError):  # where the log's folder is gone, another must have been given
        places.append((recorded, read_manifest(recorded).onnx_sha256))
    for place, held in places:
        if held == digest:
            return place
    looked = ", ".join(f"{place} (network {held[:12]})" for place, held in places)
    raise ArtefactError(
        f"layer {layer}: the log was made by network {digest[:12]}, which lay in {recorded}; "
        f"found {looked or 'none'}; name the folder that holds it with --model {layer}=FOLDER, "
        "once for each network of the layer"
    )


def _groups(records: Iterator[Record]) -> Iterator[list[Record]]:
    """An input and what followed from it, in turn."""
    group: list[Record] = []
    for record in records:
        stops = record.event == Event.EMERGENCY_STOP and record.told()["by"] == "operator"
        if group and (record.event in _INPUTS or stops):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _with_last(groups: Iterator[list[Record]]) -> Iterator[tuple[list[Record], bool]]:
    """Each group, and whether it is the last."""
    before = next(groups, None)
    for group in groups:
        assert before is not None
        yield before, False
        before = group
    if before is not None:
        yield before, True


def _outcomes(group: list[Record]) -> dict[str, list[Outcome]]:
    """What the layers' calls of a group came to, in order."""
    found: dict[str, list[Outcome]] = {}
    called: dict[str, Outcome] = {}
    for record in group:
        if record.event == Event.LAYER_CALLED:
            told = record.told()
            called[told["layer"]] = Outcome(told["how"], told["attempts"], told["error"])
        elif record.event in _LAYER_OF:
            if record.event == Event.EXECUTE_TRADE and record.array()["source"][0] == REFUSED:
                continue
            layer = _LAYER_OF[record.event]
            found.setdefault(layer, []).append(called.pop(layer, SMOOTH))
    return found


def _echo(record: Record) -> Emitted:
    return Emitted(record.event, record.clock, record.payload, record.count)


def _rows(record: Record | None, kind: Any) -> Any:
    # Read-only arrays would be another type to kernels.
    return np.zeros(0, kind) if record is None else record.array().copy()


def _first_difference(group: list[Record], made: list[Emitted]) -> Difference | None:
    for record, mine in zip(group, made, strict=False):
        if _echo(record) != mine:
            return Difference(record.number, record.clock, _say_difference(record, mine))
    if len(group) > len(made):
        left = group[len(made)]
        return Difference(left.number, left.clock, f"{left.event.name} does not come again")
    if len(made) > len(group):
        last, more = group[-1], made[len(group)]
        return Difference(last.number + 1, more.clock, f"{more.event.name} comes, and is not there")
    return None


def _say_difference(record: Record, mine: Emitted) -> str:
    """Which field of a record differs, and how."""
    if record.event != mine.event:
        return f"{mine.event.name} comes where {record.event.name} was"
    name = record.event.name
    if record.clock != mine.clock:
        return f"{name}: clock is {mine.clock}, was {record.clock}"
    if record.event not in RECORDS:
        then, now = json.loads(record.payload), json.loads(mine.payload)
        for key in sorted(set(then) | set(now)):
            if then.get(key) != now.get(key):
                return f"{name}.{key} is {now.get(key)}, was {then.get(key)}"
        return f"{name} is written otherwise"
    if record.count != mine.count or record.event == Event.NEW_TICK:
        return f"{name} holds {mine.count} records, held {record.count}"
    then, now = record.array(), np.frombuffer(mine.payload, RECORDS[record.event])
    for field in then.dtype.names:
        if then[field].tobytes() != now[field].tobytes():
            return f"{name}.{field} is {now[field].tolist()}, was {then[field].tolist()}"
    return f"{name} differs"

"""An operator's hand on the instruments of a process: stop, let go, other artefacts.

Everything here runs between two decisions, on the thread that decides; only the loading of an
artefact goes on beside it. Each step is in the audit log, so that a replay takes it too.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cascade.artefact import read_manifest
from cascade.found import Named, found_folders
from cascade.graphs import SAMPLING
from cascade.models import LayerModel, check_together, load_model
from cascade.serve.desk import Desk
from cascade.serve.problems import Problem
from cascade.serve.requests import INSTRUMENT, LAYER, Steer
from configs.errors import ArtefactError, AuditError, GrandmodelError

STOP, LET_GO = "/stop", "/let-go"
RELOAD, ROLLBACK = "/models/reload", "/models/rollback"
PATHS = (STOP, LET_GO, RELOAD, ROLLBACK)
_RETRY = 1.0  # seconds

Found = Callable[[str], Desk]


class Steering:
    """What the steering endpoints do.

    One reload at a time: loading two artefacts at once would slow the decisions beside it.
    """

    def __init__(self, desks: Mapping[str, Desk], found: Found, named: Named | None) -> None:
        """`found` gives the desk of a name, or raises; `named`: the artefacts to look up anew."""
        self._desks, self._found, self._named = desks, found, named
        self._reloading = asyncio.Lock()
        self._cache: tempfile.TemporaryDirectory[str] | None = None

    async def do(self, path: str, asked: Steer) -> dict[str, Any]:
        """Do what one of PATHS asks; what came of it, by instrument.

        Raises:
            Problem: it cannot be done. What was done before it stays done, and is in the log.
        """
        if asked.instrument is None:
            desks = list(self._desks.values())
        else:
            desks = [self._found(asked.instrument)]
        if not desks:
            raise _problem(503, "no instrument is loaded yet", INSTRUMENT, asked.instrument)
        if path == RELOAD:
            async with self._reloading:
                return await self._reload(desks)
        return {desk.name: _one(path, desk, asked) for desk in desks}

    async def _reload(self, desks: list[Desk]) -> dict[str, Any]:
        """Take the artefacts that are meant now, where they are others than those in use."""
        if self._named is None:
            raise _problem(409, "this service was given its artefacts", "models", "none named")
        if self._cache is None:
            # As long as the service: the log names what was fetched into it.
            self._cache = tempfile.TemporaryDirectory(prefix="grandmodel-")
        cache = Path(tempfile.mkdtemp(dir=self._cache.name))
        try:
            folders = await asyncio.to_thread(found_folders, self._named, cache)
        except GrandmodelError as error:
            raise _problem(409, str(error), "models", "no champion") from error
        return {desk.name: await _renewed(desk, folders) for desk in desks}


def _one(path: str, desk: Desk, asked: Steer) -> dict[str, Any]:
    engine = desk.engine
    try:
        if path == STOP:
            engine.stop(asked.reason)
        elif path == LET_GO:
            engine.let_go(asked.reason)
        else:
            assert asked.layer is not None
            engine.take_model(engine.models.rollback(asked.layer))
        engine.sink.acknowledge()
    except ArtefactError as error:
        raise _problem(409, str(error), LAYER, asked.layer) from error
    except AuditError as error:
        # It holds all the same; it is written once the disk takes it.
        raise _unwritten(error) from error
    return {"stopped": desk.stopped, "models": _digests(desk), "record": engine.recorded}


async def _renewed(desk: Desk, folders: Mapping[str, Path]) -> dict[str, Any]:
    """What became of each layer of a desk: kept, taken, or refused and why."""
    engine, became = desk.engine, dict[str, str]()
    fresh: list[LayerModel[Any]] = []
    for layer, model in engine.models.active.items():
        became[layer] = "kept"
        if layer not in folders:
            continue
        try:
            if read_manifest(folders[layer]).onnx_sha256 == model.digest:
                continue
            fresh.append(await asyncio.to_thread(load_model, layer, folders[layer].resolve()))
        except ArtefactError as error:
            became[layer] = f"refused: {error}"
    try:
        # All or none: a strategic artefact may want the tactical one that came with it.
        check_together({**engine.models.active, **{model.layer: model for model in fresh}})
    except ArtefactError as error:
        became.update({model.layer: f"refused: {error}" for model in fresh})
        fresh = []
    for model in fresh:
        became[model.layer] = _taken(desk, model)
    try:
        engine.sink.acknowledge()
    except AuditError as error:
        raise _unwritten(error) from error
    if any(how.startswith("refused") for how in became.values()):
        told = "; ".join(f"{layer} {how}" for layer, how in became.items() if how != "kept")
        raise _problem(409, f"artefacts of '{desk.name}' were refused: {told}", "models", desk.name)
    return {"layers": became, "models": _digests(desk), "record": engine.recorded}


def _taken(desk: Desk, model: LayerModel[Any]) -> str:
    try:
        if model.layer in desk.engine.config.sample:
            model.policy.bound(SAMPLING)  # proves that it can be sampled, before it is in use
        desk.engine.take_model(model)
    except ArtefactError as error:
        return f"refused: {error}"
    return "taken"


def _digests(desk: Desk) -> dict[str, str]:
    return {layer: model.digest for layer, model in desk.engine.models.active.items()}


def _problem(status: int, what: str, where: str, got: object) -> Problem:
    return Problem(
        status, what, where=where, got="none" if got is None else got,
        expected="what this instrument can do now (/health)",
        remedy="mend what the message names, and ask again",
        retry_after=_RETRY if status == 503 else None,
    )  # fmt: skip


def _unwritten(error: AuditError) -> Problem:
    return Problem(
        503, f"it is done, and could not be recorded yet: {error}", where="audit log",
        got="a log that cannot be written", expected="one that can",
        remedy="free some space on its disk", retry_after=_RETRY,
    )  # fmt: skip

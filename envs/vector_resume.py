"""Saving environments that others wrote: their own `state_dict`, or a pickle of the object.

Two traps stand in the way of a pickle. gymnasium's EzPickle pickles what an object was
built with and nothing that happened since, so that a restored environment begins anew;
here its attributes are pickled. And surfaces and fonts to draw with cannot be pickled;
they hold nothing that a step depends on, so the restored environment takes over those
of the one in whose place it comes. Whether all this brings an environment back to the
bit is not believed but tried.
"""

from __future__ import annotations

import copy
import copyreg
import io
import pickle
from typing import Any

import cloudpickle
from gymnasium.utils import EzPickle

_PROTOCOL = 5
_DRAWING = "pygame"  # the package whose surfaces, fonts and clocks are taken over


class Unsaved(Exception):
    """An environment cannot be saved, or a saved one not restored."""


def save(env: Any) -> Any:
    """Everything that the environment's next step depends on.

    Raises:
        Unsaved: it has no `state_dict` and `load_state`, and cannot be pickled.
    """
    if _saves_itself(env):
        # The environment may hand out its own arrays, which the next step overwrites.
        return copy.deepcopy(env.state_dict())
    try:
        return _pickled(env)[0]
    except Exception as error:
        raise Unsaved(f"{type(error).__name__}: {error}") from error


def restore(env: Any, saved: Any) -> Any:
    """What `save` gave as an environment again: `env` itself, or one in its place.

    Raises:
        Unsaved: it was saved from an environment of another make.
    """
    if _saves_itself(env):
        env.load_state(copy.deepcopy(saved))
        return env
    try:
        return _Unpickler(saved, env).load()
    except Exception as error:
        raise Unsaved(f"{type(error).__name__}: {error}") from error


def _saves_itself(env: Any) -> bool:
    return all(callable(getattr(env, name, None)) for name in ("state_dict", "load_state"))


def _pickled(env: Any) -> tuple[bytes, list[Any]]:
    """The pickle, and what was met of drawing tools, in order."""
    try:
        return _pickled_by(_PlainPickler, env)
    except Exception:  # whatever a stranger's object raises, the second kind takes more
        return _pickled_by(_CloudPickler, env)


def _pickled_by(kind: Any, env: Any) -> tuple[bytes, list[Any]]:
    file = io.BytesIO()
    pickler = kind(file, _PROTOCOL)
    pickler.dump(env)
    return file.getvalue(), pickler.tools


def _refill(target: Any, attributes: dict[str, Any]) -> None:
    """Set an object's attributes past its own `__setstate__`."""
    target.__dict__.update(attributes)


class _Whole:
    """Pickles the attributes of EzPickle objects, and drawing tools by their number."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)  # type: ignore[call-arg]
        self.tools: list[Any] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, given: Any) -> int | None:
        if not _draws(given):
            return None
        if id(given) not in self._numbers:
            self._numbers[id(given)] = len(self.tools)
            self.tools.append(given)
        return self._numbers[id(given)]

    def reducer_override(self, given: Any) -> Any:
        kind = type(given)
        if isinstance(given, EzPickle) and kind.__getstate__ is EzPickle.__getstate__:
            return copyreg.__newobj__, (kind,), given.__dict__, None, None, _refill  # type: ignore[attr-defined]
        above = getattr(super(), "reducer_override", None)
        return NotImplemented if above is None else above(given)


class _PlainPickler(_Whole, pickle.Pickler):
    """Classes and functions by their names."""


class _CloudPickler(_Whole, cloudpickle.Pickler):
    """Classes and functions that have no importable name by their code."""


class _Unpickler(pickle.Unpickler):
    """Puts the drawing tools of `env` where the saved environment had its own."""

    def __init__(self, saved: bytes, env: Any) -> None:
        super().__init__(io.BytesIO(saved))
        self._env = env
        self._tools: list[Any] | None = None

    def persistent_load(self, number: Any) -> Any:
        if self._tools is None:
            self._tools = _pickled(self._env)[1]
        if number >= len(self._tools):
            raise Unsaved(
                f"the environment had more than the {len(self._tools)} surfaces and fonts that "
                "the one in its place has"
            )
        return self._tools[number]


def _draws(given: Any) -> bool:
    """Whether this is one of pygame's objects that cannot be pickled, such as a surface."""
    kind = type(given)
    if kind.__module__.partition(".")[0] != _DRAWING:
        return False
    try:
        given.__reduce_ex__(_PROTOCOL)
    except TypeError:
        return True
    return False

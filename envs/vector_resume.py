"""Saving environments that others wrote: their own `state_dict`, or a pickle of the object.

Two traps stand in the way of a pickle. gymnasium's EzPickle pickles what an object was
built with and nothing that happened since, so that a restored environment begins anew;
here its attributes are pickled. And surfaces and fonts to draw with cannot be pickled.
Those that an environment was built with are there when it is built again, so the restored
one takes over those of the one in whose place it comes; surfaces that it made since are
saved by their pixels. Whether all this brings an environment back to the bit is not
believed but tried (`envs/vector_trial.py`).
"""

from __future__ import annotations

import copy
import copyreg
import gc
import io
import pickle
import sys
import zlib
from abc import ABCMeta
from collections import deque
from collections.abc import Sequence
from functools import cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import cloudpickle
from gymnasium.utils import EzPickle

_PROTOCOL = 5
_DRAWING = "pygame"  # the package whose surfaces, fonts and clocks are taken over
# Leads out of an environment, into all that is imported.
_ELSEWHERE = (type, ModuleType, FunctionType, BuiltinFunctionType)
_SMALL = 1 << 20  # bytes
_QUICKLY = 1  # zlib's level; most surfaces are blank


class Unsaved(Exception):
    """An environment cannot be saved, or a saved one not restored."""


class Saver:
    """Saves one environment, and restores into it.

    Args:
        env: as it was built, before its first reset.
    """

    def __init__(self, env: Any) -> None:
        self._tools = _drawing_tools(env)

    def save(self, env: Any) -> Any:
        """Everything that the environment's next step depends on.

        Raises:
            Unsaved: it has no `state_dict` and `load_state`, and cannot be pickled.
        """
        if _saves_itself(env):
            # The environment may hand out its own arrays, which the next step overwrites.
            return copy.deepcopy(env.state_dict())
        numbers = {id(tool): number for number, tool in enumerate(self._tools)}
        try:
            return _pickled(env, numbers)
        except Exception as error:
            raise Unsaved(f"{type(error).__name__}: {error}") from error

    def refreshed(self, env: Any, saved: Any) -> Any:
        """The environment to go on with after `save`, which gave `saved`: as fast as before.

        Being pickled slows an object down (see `_drawing_tools`), so a copy takes its place,
        unless it is so large that it may hold data which all rows share.
        """
        if not isinstance(saved, bytes) or len(saved) > _SMALL:
            return env
        return self.restore(env, saved)

    def restore(self, env: Any, saved: Any) -> Any:
        """What `save` gave as an environment again: `env` itself, or one in its place.

        Raises:
            Unsaved: it was saved from an environment of another make.
        """
        try:
            if _saves_itself(env):
                env.load_state(copy.deepcopy(saved))
                return env
            return _Unpickler(saved, self._tools).load()
        except Exception as error:
            raise Unsaved(f"{type(error).__name__}: {error}") from error


def _saves_itself(env: Any) -> bool:
    return all(callable(getattr(env, name, None)) for name in ("state_dict", "load_state"))


def _drawing_tools(env: Any) -> list[Any]:
    """What the environment holds to draw with, in an order that depends on its make alone.

    It is looked for without touching any `__dict__`: an object whose attributes were once
    asked for as a dict is slower ever after (mpe2's step by some 8% on Python 3.11).
    """
    tools: list[Any] = []
    if _DRAWING not in sys.modules or _saves_itself(env):
        return tools
    known = {id(env)}
    queue = deque([env])
    while queue:
        for part in gc.get_referents(queue.popleft()):
            if id(part) not in known and not isinstance(part, _ELSEWHERE):
                known.add(id(part))
                (tools if _draws(part) else queue).append(part)
    return tools


def _pickled(env: Any, numbers: dict[int, int]) -> bytes:
    try:
        return _pickled_by(_PlainPickler, env, numbers)
    except Exception:  # whatever a stranger's object raises, the second kind takes more
        return _pickled_by(_CloudPickler, env, numbers)


def _pickled_by(kind: Any, env: Any, numbers: dict[int, int]) -> bytes:
    file = io.BytesIO()
    kind(file, numbers).dump(env)
    return file.getvalue()


@cache
def _ordinary(kind: Any) -> bool:
    """Whether pickling an object of this class comes to its attributes and nothing else."""
    return (
        type(kind) in (type, ABCMeta)
        and kind.__new__ is object.__new__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ in (object.__getstate__, EzPickle.__getstate__)
        and getattr(kind, "__setstate__", None) in (None, EzPickle.__setstate__)
        and not any(hasattr(kind, name) for name in ("__getnewargs__", "__getnewargs_ex__"))
        and not any(base.__dict__.get("__slots__") for base in kind.__mro__)
        and kind.__dictoffset__ != 0
        and kind not in copyreg.dispatch_table
    )


def _refill(target: Any, attributes: dict[str, Any]) -> None:
    """Set an object's attributes past its own `__setstate__` and `__setattr__`.

    One by one, as `__init__` would: see `_drawing_tools` on what a dict costs.
    """
    kind = type(target)
    if any(_intercepted(kind, name) for name in attributes):
        target.__dict__.update(attributes)
        return
    for name, value in attributes.items():
        object.__setattr__(target, name, value)


def _intercepted(kind: type, name: str) -> bool:
    """Whether setting the attribute would call a property or another descriptor."""
    return any(hasattr(type(base.__dict__.get(name)), "__set__") for base in kind.__mro__)


class _Whole:
    """Pickles attributes, those of EzPickle objects too, and drawing tools by their number.

    Args:
        numbers: number of each tool, by its id.
    """

    def __init__(self, file: io.BytesIO, numbers: dict[int, int]) -> None:
        super().__init__(file, _PROTOCOL)  # type: ignore[call-arg]
        self._numbers = numbers

    def persistent_id(self, given: Any) -> int | None:
        return self._numbers.get(id(given))

    def reducer_override(self, given: Any) -> Any:
        kind: Any = type(given)
        forgets = isinstance(given, EzPickle) and kind.__getstate__ is EzPickle.__getstate__
        if forgets or _ordinary(kind):
            return object.__new__, (kind,), given.__dict__, None, None, _refill
        if kind.__name__ == "Surface" and _draws(given):
            return _painted, _pixels(given)
        above = getattr(super(), "reducer_override", None)
        return NotImplemented if above is None else above(given)


class _PlainPickler(_Whole, pickle.Pickler):
    """Classes and functions by their names."""


class _CloudPickler(_Whole, cloudpickle.Pickler):
    """Classes and functions that have no importable name by their code."""


class _Unpickler(pickle.Unpickler):
    """Puts an environment's drawing tools where the saved one had its own."""

    def __init__(self, saved: bytes, tools: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(saved))
        self._tools = tools

    def persistent_load(self, number: Any) -> Any:
        if number >= len(self._tools):
            raise Unsaved(
                f"it was built with more surfaces and fonts than the {len(self._tools)} of the "
                "one in its place"
            )
        return self._tools[number]


def _pixels(surface: Any) -> tuple[Any, ...]:
    """What `_painted` makes a pygame surface of again."""
    return (
        surface.get_size(),
        surface.get_flags(),
        surface.get_bitsize(),
        surface.get_masks(),
        surface.get_colorkey(),
        surface.get_alpha(),
        zlib.compress(surface.get_buffer().raw, _QUICKLY),
    )


def _painted(
    size: Any, flags: int, depth: int, masks: Any, key: Any, alpha: Any, pixels: bytes
) -> Any:
    import pygame  # only an environment that has it can have saved a surface

    surface = pygame.Surface(size, flags, depth, masks)
    surface.get_buffer().write(zlib.decompress(pixels))
    if key is not None:
        surface.set_colorkey(key)
    if alpha is not None:
        surface.set_alpha(alpha)
    return surface


def _draws(given: Any) -> bool:
    """Whether this is one of pygame's objects that cannot be pickled, such as a surface."""
    kind = type(given)
    if str(kind.__module__).partition(".")[0] != _DRAWING:
        return False
    try:
        given.__reduce_ex__(_PROTOCOL)
    except TypeError:
        return True
    return False

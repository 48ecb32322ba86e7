"""Functions of anyone's by "package.module:function", as settings and commands name them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from configs.errors import TrainingError, nearest


def function_at(place: str, what: str, gives: str) -> Callable[..., Any]:
    """The function at `place`, which is "package.module:function".

    Args:
        what: what it is the place of, with which messages begin, such as "environment".
        gives: what is expected of the function, as the end of "where the function ...".

    Raises:
        TrainingError: `place` is no such text, or there is no such module or function. Its
            cause is Python's own error, where there was one.
        ImportError: the module is there, and something that it imports is not.
    """
    module_name, _, function_name = place.partition(":")
    if not module_name or not function_name:
        raise TrainingError(
            f"{what} '{place}': expected 'package.module:function', where the function {gives}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise TrainingError(
            f"{what} '{place}': there is no module '{error.name}'; name an importable module"
        ) from error
    try:
        function: Callable[..., Any] = getattr(module, function_name)
    except AttributeError as error:
        known = [name for name, value in vars(module).items() if callable(value)]
        raise TrainingError(
            f"{what} '{place}': module '{module_name}' has no such function; "
            f"{nearest(function_name, known)}"
        ) from error
    if not callable(function):
        raise TrainingError(f"{what} '{place}' is no function: got {function!r}")
    return function

"""Pydantic's validation errors as lines that say what, where, got and expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from configs.errors import nearest
from configs.schema import Slot
from configs.yaml_text import Document, KeyPath, describe

MAX_PROBLEMS = 20
"""Problems named in one message; more are counted."""

_EXPECTED = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "number_from_bool": "a value of another type than true or false",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "text of at least {min_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "path_type": "a path",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "model_type": "a mapping of settings",
    "model_attributes_type": "a mapping of settings",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "union_tag_invalid": "one of {expected_tags}",
    "union_tag_not_found": "a mapping with the key {discriminator}",
    "none_required": "null",
}


class Origins:
    """Where each setting was written last, for error messages."""

    def __init__(self) -> None:
        self._places: dict[KeyPath, str] = {}
        self._names: list[str] = []

    def add(self, document: Document) -> None:
        """Note every setting of a document, over what was noted before."""
        if document.name not in self._names:
            self._names.append(document.name)
        self._note_tree(document, document.tree, ())

    def note(self, path: KeyPath, place: str) -> None:
        """Note one setting."""
        self._places[path] = place

    def place(self, path: KeyPath) -> str:
        """Where the setting at `path`, or the nearest one around it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
        return " + ".join(self._names) or "the defaults"

    def _note_tree(self, document: Document, value: Any, path: KeyPath) -> None:
        if path:
            self._places[path] = document.place(path)
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._note_tree(document, item, (*path, key))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self._note_tree(document, item, (*path, index))


def problems(errors: Sequence[Any], root: Slot, tree: Any, origins: Origins) -> str:
    """One message for all of pydantic's `errors` about `tree`, one line per setting."""
    lines: dict[KeyPath, str] = {}
    for error in errors:
        path, slot = _locate(root, error["loc"])
        if error["type"] == "union_tag_invalid":
            path = (*path, error["ctx"]["discriminator"].strip("'"))
        if path in lines:
            # Each member of a union reports on its own; one setting is one problem.
            expected = _expected(error)
            if expected not in lines[path]:
                lines[path] += f" or {expected}"
            continue
        lines[path] = _line(error, path, slot, tree, origins)
    shown = list(lines.values())[:MAX_PROBLEMS]
    if len(lines) == 1:
        return shown[0]
    more = [f"... and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
    return "\n  ".join([f"{len(lines)} problems in the configuration:", *shown, *more])


def _line(
    error: Mapping[str, Any], path: KeyPath, parent: Slot, tree: Any, origins: Origins
) -> str:
    name, place = ".".join(map(str, path)), origins.place(path)
    if error["type"] == "extra_forbidden":
        return f"unknown key {name} in {place}: {nearest(str(path[-1]), parent.keys)}"
    if error["type"] == "missing":
        return f"{name} is missing in {place}: set it there, or by --set {name}=VALUE"
    if not name:
        return f"{place}: {_expected(error)}"
    value = _value(tree, path)
    if error["type"] == "value_error":
        # A validator of ours: its message says what it expected in its own words.
        given = "" if isinstance(value, Mapping) else f"={_plain(value)}"
        return f"{name}{given} in {place}: {_expected(error)}"
    return f"{name}={_plain(value)} in {place}: expected {_expected(error)}"


def _plain(value: Any) -> str:
    """A value as one writes it in YAML, cut to a readable length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if 0 < len(text) <= 60 and text.isprintable() else describe(text)


def _expected(error: Mapping[str, Any]) -> str:
    context = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in (error.get("ctx") or {}).items()
    }
    template = _EXPECTED.get(error["type"])
    if template is not None:
        return template.format_map(context)
    message = str(error["msg"])
    for prefix in ("Value error, ", "Assertion failed, ", "Input should be "):
        message = message.removeprefix(prefix)
    return message


def _value(tree: Any, path: KeyPath) -> Any:
    for key in path:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _locate(root: Slot, location: Sequence[str | int]) -> tuple[KeyPath, Slot]:
    """The path in the data of pydantic's `loc`, and the slot that holds its last key.

    Pydantic puts the chosen member of a union into `loc`; the data has no such key.
    """
    place, parent = root, root
    path: list[str | int] = []
    for key in location:
        union = len(place.variants) > 1
        if union:
            place = place.narrow(key)
            if len(place.variants) > 1:
                # A member without keys of its own, such as 'int': the end of the path.
                place = Slot(None)
            continue
        parent = place
        path.append(key)
        place = place.child(key) or Slot(Any)
    return tuple(path), parent

"""YAML as this project reads and writes it: YAML 1.2's scalars, line numbers, no surprises.

PyYAML follows YAML 1.1, where `2e-3` is text, `no` is false, `010` is eight and
`12:30` is 750. Here numbers are what Python calls numbers, `true` and `false`
are the only booleans, and dates stay text for the schema to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError

MAX_BYTES = 1 << 18
"""A configuration file is written by hand; more than this is another kind of file."""

MAX_DEPTH = 64
"""Levels of nesting; the deepest schema of the project has fewer than ten."""

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_RESOLVERS = (
    ("bool", _BOOL, "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("null", _NULL, ["~", "n", "N", ""]),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 PyYAML's own form


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML would misread, and writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


@dataclass(frozen=True)
class Document:
    """One configuration source: its name, its settings, and the line of each key."""

    name: str
    tree: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Where the setting at `path` was written, for error messages."""
        line = self.lines.get(path)
        return f"{self.name}:{line}" if line else self.name


def read_document(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        ConfigError: missing, empty, too large, not UTF-8 text, not YAML, or not a mapping.
    """
    name = display_name(path)
    text = _read_text(path, name)
    lines: dict[KeyPath, int] = {}
    tree = _parse(text, name, lines)
    if tree is None:
        raise ConfigError(f"{name} holds no settings: expected a YAML mapping, such as 'seed: 0'")
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{name} holds {describe(tree)}: expected a YAML mapping, such as 'seed: 0'"
        )
    return Document(name, tree, lines)


def parse_value(text: str, name: str) -> Any:
    """Read the YAML value of an override; `name` says where it was written."""
    return _parse(text, name, {})


def dump(tree: Any) -> str:
    """Write plain data as YAML that `read_document` reads back unchanged."""
    # Not allow_unicode: PyYAML then writes characters such as U+0085 that it reads as others.
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=False)


def display_name(path: Path) -> str:
    """`path` relative to the working directory where it lies inside, else as given."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)


def describe(value: Any) -> str:
    """A value as an error message shows it, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read_text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{name} does not exist: expected a YAML file; check the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{name} is a folder: expected a YAML file; name a file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name} cannot be read ({reason}): expected a YAML file") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{name} is larger than {MAX_BYTES} bytes: expected a configuration file;"
            " is it a data file?"
        )
    if not raw.strip():
        raise ConfigError(f"{name} is empty: expected a YAML mapping, such as 'seed: 0'")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{name} is not UTF-8 text (byte {error.start} is 0x{raw[error.start]:02x}):"
            " expected YAML; save it as UTF-8, or name another file"
        ) from None


def _parse(text: str, name: str, lines: dict[KeyPath, int]) -> Any:
    try:
        root = _Loader(text).get_single_node()
        return None if root is None else _Builder(name, lines).build(root, ())
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{name} is not text (character {error.position} is {error.character!r}): expected YAML"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(
            f"{place} is not YAML: {error.problem or error.context}; check the indentation,"
            " colons and brackets there"
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{name} is nested too deeply: expected at most {MAX_DEPTH} levels"
        ) from None


class _Builder:
    """Plain data from YAML nodes, noting the line of every key on the way."""

    def __init__(self, name: str, lines: dict[KeyPath, int]) -> None:
        self._name = name
        self._lines = lines
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of `node`, which stands at `path`."""
        place = f"{self._name}:{node.start_mark.line + 1}"
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{place} is nested deeper than {MAX_DEPTH} levels: flatten it")
        # An alias is the node it names, met again: refusing it keeps the tree as
        # large as the file (aliases of aliases grow exponentially).
        if id(node) in self._seen:
            raise ConfigError(f"{place} is named again by an alias (*): write the value out there")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, path)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, place)
        raise ConfigError(f"{place} has the tag {node.tag}: expected plain YAML without tags")

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        for index, item in enumerate(node.value):
            self._lines[(*path, index)] = item.start_mark.line + 1
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(
                    f"{self._name}:{line} has a key that is not a name: expected 'name: value'"
                )
            key = key_node.value
            if key in result:
                first = self._lines[(*path, key)]
                raise ConfigError(
                    f"{self._name}:{line} gives the key '{key}' a second time (first on line"
                    f" {first}): keep one of the two"
                )
            self._lines[(*path, key)] = line
            result[key] = self.build(value_node, (*path, key))
        return result


def _scalar(node: yaml.ScalarNode, place: str) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "null":
        return None
    if kind == "bool" and _BOOL.match(text):
        return text.lower() == "true"
    if kind == "str":
        return text
    digits = text.replace("_", "").lower()
    try:
        if kind == "int":
            return int(digits, 0) if "x" in digits or "o" in digits else int(digits)
        if kind == "float":
            return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise ConfigError(f"{place} holds {describe(text)}: expected a number") from None
    raise ConfigError(f"{place} has the tag {node.tag}: expected plain YAML without tags")

"""Configuration files to a frozen, typed model; every mistake becomes one ConfigError.

    load_config(TrainConfig, shipped("layers", "execution"), "mine.yaml",
                overrides=["env.lot_size=10"])

Later sources win over earlier ones, overrides over all. Mappings merge key by
key; everything else, lists too, is replaced whole. Where a mapping's tag (the
discriminator of a union, such as `kind`) changes, the former variant's keys go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from configs.errors import ConfigError, nearest
from configs.problems import Origins, problems
from configs.schema import Slot, seed_list, seed_tree
from configs.yaml_text import Document, KeyPath, describe, dump, parse_value, read_document

C = TypeVar("C", bound=BaseModel)
Kind = Literal["layers", "presets", "sweeps", "teams"]

_OVERRIDE = "--set"


def load_config(
    model: type[C], *sources: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()
) -> C:
    """Merge `sources` in order, apply `overrides`, and validate the result as `model`.

    Args:
        model: the pydantic model to build.
        sources: paths of YAML files, or mappings of plain data.
        overrides: `a.b=c` each; the value is read as YAML and typed by the schema,
            and a number in the path is an index into a list.

    Raises:
        ConfigError: a source cannot be read, a key is unknown, a value does not fit;
            names every problem with its file and line.
    """
    tree: dict[str, Any] = {}
    origins = Origins()
    root = Slot(model)
    for source in sources:
        document = _document(source)
        tree = _merge(root, tree, document.tree)
        origins.add(document)
    for override in overrides:
        tree = _override(root, tree, override, origins)
    try:
        config = model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(problems(error.errors(), root, tree, origins)) from None
    booleans = list(_misplaced_booleans(root, tree, ()))
    if booleans:
        errors = [{"type": "number_from_bool", "loc": p, "ctx": {}, "msg": ""} for p in booleans]
        raise ConfigError(problems(errors, root, tree, origins))
    return config


def dump_yaml(config: BaseModel) -> str:
    """The whole configuration as YAML text; `load_config` reads it back to an equal model."""
    return dump(config.model_dump(mode="json"))


def shipped(kind: Kind, name: str) -> Path:
    """The file of a layer or preset that is installed with the package.

    Raises:
        ConfigError: there is none of that name; names the nearest, or lists those there are.
    """
    names = shipped_names(kind)
    if name not in names:
        raise ConfigError(f"unknown {kind.removesuffix('s')} '{name}': {nearest(name, names)}")
    return _folder(kind) / f"{name}.yaml"


def preset_files(name: str, layer: str) -> list[Path]:
    """The files of a preset for a layer: what all layers share, then what it sets for this one.

    The latter lies in a folder of the layer's name and need not be there. A preset of one
    layer alone says so by its key `layer`.

    Raises:
        ConfigError: see `shipped`.
    """
    own = _folder("presets") / layer / f"{name}.yaml"
    return [shipped("presets", name), *([own] if own.is_file() else [])]


def shipped_names(kind: Kind) -> tuple[str, ...]:
    """The names that `shipped` knows, sorted."""
    return tuple(sorted(path.stem for path in _folder(kind).glob("*.yaml")))


def _folder(kind: Kind) -> Path:
    return Path(__file__).parent / kind


def _document(source: Path | str | Mapping[str, Any]) -> Document:
    if isinstance(source, Mapping):
        return Document("the given mapping", dict(source))
    return read_document(Path(source))


def _merge(place: Slot, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, neither changed; `place` is the schema's slot of both."""
    tag = place.discriminator
    if tag and tag in over and over[tag] != base.get(tag):
        base = {}
    result = dict(base)
    narrowed = place.of({**base, **over})
    for key, value in over.items():
        if not isinstance(value, Mapping):
            result[key] = value
            continue
        slot = narrowed.child(key) or Slot(Any)
        below = result.get(key)
        result[key] = _merge(slot, below if isinstance(below, Mapping) else seed_tree(slot), value)
    return result


def _override(root: Slot, tree: dict[str, Any], text: str, origins: Origins) -> dict[str, Any]:
    """The tree with one `a.b=c` applied."""
    name, equals, raw = text.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"{_OVERRIDE} {describe(text)} cannot be read: expected KEY=VALUE with the key's path"
            " in dots, such as mappo.lr=1e-3"
        )
    path, slot = _resolve(root, tree, keys, text)
    value = parse_value(raw, f"{_OVERRIDE} {text}")
    if slot.text_only and not isinstance(value, str) and value is not None:
        value = raw.strip()
    origins.note(path, f"{_OVERRIDE} {text}")
    return dict(_assign(root, tree, path, value))


def _resolve(root: Slot, tree: Any, keys: Sequence[str], text: str) -> tuple[KeyPath, Slot]:
    """The path of an override, list indices as integers, checked against the schema."""
    place, here = root, tree
    path: list[str | int] = []
    for key in keys:
        place = place.of(here)
        step: str | int = int(key) if isinstance(here, list) and key.isdecimal() else key
        child = place.child(step)
        if child is None:
            raise ConfigError(
                f"{_OVERRIDE} {text}: {_unknown(place, '.'.join(map(str, path)), key)}"
            )
        if isinstance(step, int) and step >= len(here):
            raise ConfigError(
                f"{_OVERRIDE} {text}: the list {'.'.join(map(str, path))} has {len(here)} items;"
                " expected a lower index, or set the whole list"
            )
        path.append(step)
        here = here[step] if isinstance(step, int) else _get(here, step, child)
        place = child
    return tuple(path), place


def _get(here: Any, key: str, child: Slot) -> Any:
    if isinstance(here, Mapping) and key in here:
        return here[key]
    items = seed_list(child)
    return seed_tree(child) if items is None else items


def _unknown(place: Slot, parent: str, key: str) -> str:
    where = f" under '{parent}'" if parent else ""
    if not place.keys:
        return f"'{parent}' holds a single value and has no key '{key}'; set '{parent}' itself"
    return f"unknown key '{key}'{where}; {nearest(key, place.keys)}"


def _assign(place: Slot, here: Any, path: KeyPath, value: Any) -> Any:
    """`here` with the value at `path` replaced (or merged, where both are mappings)."""
    key, rest = path[0], path[1:]
    if isinstance(key, int):
        item = value if not rest else _assign(place.child(key) or Slot(Any), here[key], rest, value)
        return [*here[:key], item, *here[key + 1 :]]
    if not rest:
        return _merge(place, here, {key: value})
    narrowed = place.of(here)
    child = narrowed.child(key) or Slot(Any)
    below = _get(here, key, child)
    below = below if isinstance(below, Mapping | list) else {}
    return {**here, key: _assign(child, below, rest, value)}


def _misplaced_booleans(place: Slot, value: Any, path: KeyPath) -> list[KeyPath]:
    """Paths of `true` and `false` that pydantic would take for the numbers 1 and 0."""
    place = place.of(value)
    if isinstance(value, bool):
        return [] if place.accepts(bool) or not place.variants else [path]
    if isinstance(value, Mapping):
        items: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return []
    return [
        wrong
        for key, item in items
        for wrong in _misplaced_booleans(place.child(key) or Slot(Any), item, (*path, key))
    ]

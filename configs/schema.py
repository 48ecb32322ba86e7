"""Walking a pydantic schema by key: what a setting may hold, before it is validated."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python


@dataclass(frozen=True)
class Slot:
    """A place in the schema: its annotation, the tag that picks a variant, its default."""

    annotation: Any
    discriminator: str | None = None
    default: Any = None

    @property
    def variants(self) -> tuple[Any, ...]:
        """The types that may stand here, None apart."""
        return tuple(_flatten(self.annotation))

    @property
    def models(self) -> tuple[type[BaseModel], ...]:
        """The models among the variants."""
        return tuple(v for v in self.variants if _is_model(v))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that a mapping here may have; empty where it is free."""
        return tuple(dict.fromkeys(key for model in self.models for key in model.model_fields))

    @property
    def free(self) -> bool:
        """Whether a mapping here may have any key (a `dict`, or an unknown annotation)."""
        return any(v is Any or get_origin(v) is dict or v is dict for v in self.variants)

    @property
    def text_only(self) -> bool:
        """Whether only text may stand here, so that an override's `2024` means '2024'."""
        names = {getattr(v, "__name__", "") for v in self.variants}
        return bool(names) and names <= {"str", "Path", "date", "datetime"}

    def accepts(self, kind: type) -> bool:
        """Whether a value of the plain type `kind` may stand here."""
        return any(
            v is kind or v is Any or kind in {type(a) for a in _literals(v)} for v in self.variants
        )

    def narrow(self, tag: Any) -> Slot:
        """The slot with the one variant that `tag` (a discriminator or class name) picks."""
        for model in self.models:
            field = model.model_fields.get(self.discriminator or "")
            chosen = field is not None and tag in get_args(field.annotation)
            if chosen or (self.discriminator is None and model.__name__ == tag):
                return Slot(model)
        return self

    def of(self, value: Any) -> Slot:
        """The slot narrowed by what stands there now."""
        if self.discriminator and isinstance(value, dict) and self.discriminator in value:
            return self.narrow(value[self.discriminator])
        return self

    def child(self, key: str | int) -> Slot | None:
        """The slot under `key`; None where the schema has no such key."""
        for variant in self.variants:
            if _is_model(variant) and key in variant.model_fields:
                return field_slot(variant.model_fields[str(key)])
            origin, arguments = get_origin(variant), get_args(variant)
            if origin is dict and isinstance(key, str):
                return slot(arguments[1])
            if origin in (list, tuple, set, frozenset) and isinstance(key, int):
                return _item(arguments, key)
        return Slot(Any) if Any in self.variants else None


def slot(annotation: Any) -> Slot:
    """The slot of a bare annotation, with the discriminator that it may carry."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        for item in metadata:
            if isinstance(item, FieldInfo) and isinstance(item.discriminator, str):
                return Slot(inner, item.discriminator)
        return Slot(inner)
    return Slot(annotation)


def field_slot(field: FieldInfo) -> Slot:
    """The slot of a model's field."""
    inner = slot(field.annotation)
    tag = field.discriminator if isinstance(field.discriminator, str) else inner.discriminator
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    kept = isinstance(default, BaseModel | list | tuple)
    return Slot(inner.annotation, tag, default if kept else None)


def seed_list(place: Slot) -> list[Any] | None:
    """A default list or tuple as plain data, so that one item of it can be set; else None."""
    if not isinstance(place.default, list | tuple):
        return None
    plain: list[Any] = to_jsonable_python(place.default)
    return plain


def seed_tree(place: Slot) -> dict[str, Any]:
    """What a default object sets beyond its class's own defaults, as plain data.

    A file that gives one key of a nested model must not lose the values with
    which the parent's default object was built.
    """
    if not isinstance(place.default, BaseModel):
        return {}
    tree = _set_values(place.default)
    if place.discriminator:
        tree[place.discriminator] = getattr(place.default, place.discriminator)
    return tree


def _set_values(model: BaseModel) -> dict[str, Any]:
    plain = model.model_dump(mode="json")
    tree: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            inner = _set_values(value)
            tag = field_slot(field).discriminator
            if tag:
                inner[tag] = getattr(value, tag)
            if inner or name in model.model_fields_set:
                tree[name] = inner
        elif name in model.model_fields_set:
            tree[name] = plain[name]
    return tree


def _flatten(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _flatten(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [v for argument in get_args(annotation) for v in _flatten(argument)]
    return [] if annotation is type(None) else [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _item(arguments: tuple[Any, ...], index: int) -> Slot | None:
    if not arguments:
        return Slot(Any)
    if len(arguments) == 1 or arguments[-1] is Ellipsis:
        return slot(arguments[0])
    return slot(arguments[index]) if index < len(arguments) else None

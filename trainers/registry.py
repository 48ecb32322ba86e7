"""What other packages bring along: environments, policies and rewards, by entry points.

A package names them in its pyproject.toml:

    [project.entry-points."grandmodel.environments"]
    spread = "my_package.env:parallel_env"

    [project.entry-points."grandmodel.policies"]
    attention = "my_package.nets:attention_actor"

    [project.entry-points."grandmodel.rewards"]
    shaped = "my_package.rewards:shaped"

Wherever a name is taken, "package.module:function" is, too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from configs.errors import RegistryError, TrainingError, nearest
from configs.places import function_at

Kind = Literal["environments", "policies", "rewards"]

_GROUP = "grandmodel"
_GIVES: dict[Kind, str] = {
    "environments": "gives a PettingZoo environment",
    "policies": "gives an actor",
    "rewards": "pays the agents",
}


def registered(kind: Kind) -> dict[str, EntryPoint]:
    """Entry points of a kind by name.

    Raises:
        RegistryError: two packages take one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"{_GROUP}.{kind}"):
        taken = found.get(point.name)
        if taken is not None and taken.value != point.value:
            raise RegistryError(
                f"{kind}: '{point.name}' is registered as {taken.value} and as {point.value}; "
                "uninstall one of the packages, or name the function itself"
            )
        found[point.name] = point
    return found


def location(kind: Kind, name: str) -> str:
    """ "package.module:function" of a registered name; such a text itself is given back.

    Raises:
        RegistryError: nothing of that name is registered.
    """
    if ":" in name:
        return name
    found = registered(kind)
    if name not in found:
        raise RegistryError(
            f"no {kind} are registered as '{name}'; {nearest(name, found)}; expected one of them "
            "or 'package.module:function'"
        )
    return found[name].value


def load(kind: Kind, name: str) -> Callable[..., Any]:
    """The function of a registered name, or of "package.module:function".

    Raises:
        RegistryError: it is not registered, or cannot be imported.
    """
    place = location(kind, name)
    try:
        return function_at(place, kind, _GIVES[kind])
    except (TrainingError, ImportError) as error:
        reason = error.__cause__ or error  # Python's own words: they name the place, as we do
        raise RegistryError(f"{kind}: '{name}' ({place}) cannot be loaded: {reason}") from error

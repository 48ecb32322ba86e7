"""The artefacts that somebody names for a cascade: champions of a folder, or one each a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.models import LAYERS, Models, load_model
from cascade.registry import CHAMPION, resolve
from configs.errors import ArtefactError, ConfigError


@dataclass(frozen=True)
class Named:
    """Which artefacts are meant.

    Attributes:
        models: a folder of models, whose champions run; or one artefact a layer in `layers`.
        tracking_uri: the store of `models:/` references.
        layers: artefacts by layer, LAYER=FOLDER or LAYER=models:/NAME@ALIAS; before `models`.
        market: whose champions, of a folder of models; None takes the latest promoted.
    """

    models: str
    tracking_uri: str
    layers: Sequence[str] = ()
    market: str | None = None


def found_folders(named: Named, cache: Path) -> dict[str, Path]:
    """By layer, the folder of the artefact that is meant now; a layer without one is absent.

    Args:
        cache: where artefacts of a registry are downloaded to.

    Raises:
        ArtefactError, ConfigError: none is there.
    """
    given = parse_layers(named.layers)
    folders = {}
    for layer in LAYERS:
        if layer in given:
            source, market = given[layer], None
        elif has_champion(Path(named.models), layer, named.market):
            source, market = named.models, named.market
        else:
            continue
        folders[layer] = resolve(
            source, layer, market=market, tracking_uri=named.tracking_uri, cache=cache / layer
        )
    if not folders:
        raise ArtefactError(
            f"no champion of any layer under {named.models}: train them (`grandmodel train "
            "cascade`), or name artefacts with --model LAYER=FOLDER"
        )
    return folders


def found_models(named: Named, cache: Path) -> Models:
    """The artefacts that are meant, loaded.

    Raises:
        ArtefactError, ConfigError: none is there, or one of them is wrong.
    """
    folders = found_folders(named, cache)
    # The version that a link names now: what the log says of it holds once the link moves on.
    return Models({layer: load_model(layer, found.resolve()) for layer, found in folders.items()})


def has_champion(models: Path, layer: str, market: str | None) -> bool:
    """Whether a folder of models holds a champion of a layer."""
    root = models / layer
    return ((root / market if market is not None else root) / CHAMPION).exists()


def parse_layers(given: Sequence[str]) -> dict[str, str]:
    """LAYER=PLACE options by layer.

    Raises:
        ConfigError: one is no such text, or names no layer.
    """
    found = {}
    for text in given:
        layer, equals, place = text.partition("=")
        if not equals or not place or layer not in LAYERS:
            raise ConfigError(
                f"--model {text}: expected LAYER=FOLDER with LAYER one of {', '.join(LAYERS)}"
            )
        found[layer] = place
    return found


__all__ = ["Named", "found_folders", "found_models", "has_champion", "parse_layers"]

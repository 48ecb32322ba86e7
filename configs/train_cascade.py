"""The settings of `grandmodel train cascade`: three layers in order, each under those before it.

Presets, files and overrides are those of single trainings. One that is of a single layer (a file
or preset with the key `layer`, an override `LAYER.a.b=c`) is laid over that layer's settings, any
other over all three's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, nearest
from configs.loading import shipped
from configs.market import BarReference
from configs.train import TRAININGS, LayerTraining, load_train_config
from configs.yaml_text import read_document

ORDER = ("strategic", "tactical", "execution")

_REFERENCE = "env.market.reference"
# Folds that share no date: layer k trains on fold k, all are judged on the test split. The
# first share leaves as many bars to each layer as to the validation of the last.
_FOLDS = {"kind": "rolling", "folds": str(len(ORDER)), "first_share": str(1 / (len(ORDER) + 1))}
_SERIES = {"tactical": "env.series.seed", "execution": "env.upstream.series.seed"}


def load_cascade(
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    base: Mapping[str, Path] | None = None,
) -> dict[str, LayerTraining]:
    """The settings of each layer, in the order of training.

    No layer may learn under one that has seen its dates. Of a file of bars each therefore
    trains on a fold of its own of a walk forward, on the built-in market on bars of a seed of
    its own, unless an override says otherwise. Where artefacts will lie is not yet known here.

    Args:
        base: takes the place of the layers' files and of those folds and seeds: the settings
            of a run to resume.

    Raises:
        ConfigError: see `configs.train.load_train_config`; or a file is of no such layer.
    """
    found: dict[str, LayerTraining] = {}
    for layer in ORDER:
        told = [name for name in presets if _is_of(shipped("presets", name), layer)]
        mine = [file for file in files if _is_of(file, layer)]
        given = overrides_of(layer, overrides)
        own = None if base is None else base[layer]
        try:
            config = load_train_config(layer, told, mine, given, seed, own)
            if own is None and (apart := _apart(layer, config, found)):
                config = load_train_config(layer, told, mine, [*apart, *given], seed)
        except ConfigError as error:
            raise ConfigError(f"{layer} layer: {error} (LAYER.KEY sets one layer alone)") from None
        found[layer] = config
    return found


def overrides_of(layer: str, overrides: Sequence[str]) -> list[str]:
    """Those of one layer, without its name, and those of all."""
    found = []
    for text in overrides:
        head, _, rest = text.partition(".")
        if head not in TRAININGS:
            found.append(text)
        elif head == layer:
            found.append(rest)
    return found


def _is_of(file: Path, layer: str) -> bool:
    """Whether a file is laid over this layer's settings."""
    document = read_document(file)
    told: Any = document.tree.get("layer", layer)
    if told not in TRAININGS:
        raise ConfigError(
            f"layer={told} in {document.place(('layer',))}: there is no such layer; "
            f"{nearest(str(told), TRAININGS)}"
        )
    return bool(told == layer)


def _apart(layer: str, config: LayerTraining, above: Mapping[str, LayerTraining]) -> list[str]:
    """Overrides that keep the layer's dates apart from those of the layers above it."""
    number = ORDER.index(layer)
    if isinstance(config.env.market.reference, BarReference):
        folds = [f"{_REFERENCE}.walk_forward.{key}={value}" for key, value in _FOLDS.items()]
        return [*folds, f"{_REFERENCE}.fold={number}"]
    if layer not in _SERIES:
        return []
    first: Any = above[ORDER[0]].env
    return [f"{_SERIES[layer]}={first.series.seed + number}"]

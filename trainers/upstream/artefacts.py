"""The artefacts of layers above: found once before a training, kept with the run, and loaded."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from cascade.artefact import Artefact, load_artefact
from cascade.policy import OnnxPolicy
from cascade.registry import resolve
from configs.barwise import LayerConfig
from configs.errors import ArtefactError
from configs.execution import SAMPLED
from configs.strategic import StrategicConfig
from configs.train import Environment
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL

E = TypeVar("E", bound=Environment)
L = TypeVar("L", bound=LayerConfig)

ABOVE: Mapping[str, LayerLayout] = {layout.layer: layout for layout in (STRATEGIC, TACTICAL)}


@dataclass(frozen=True)
class Frozen(Generic[L]):
    """A policy of a layer above, and its environment as it plays the bars of a run."""

    policy: OnnxPolicy
    artefact: Artefact
    config: L


def sources(env: Environment) -> dict[str, str]:
    """The artefacts that an environment's configuration names, by layer."""
    if isinstance(env, StrategicConfig):
        return {}
    named = {layer: getattr(env.upstream, layer, SAMPLED) for layer in ABOVE}
    return {layer: source for layer, source in named.items() if source != SAMPLED}


def resolved(env: E, pinned: Path | None, tracking_uri: str, cache: Path) -> E:
    """The configuration with a folder for every artefact, each loaded once to prove it.

    Args:
        env: as it was given.
        pinned: where a run that is resumed keeps its artefacts, so that it goes on under the
            policies that it was begun under; None for a new one.
        tracking_uri: the store of `models:/` references.
        cache: where these are downloaded to.

    Raises:
        ArtefactError: there is none, or it is of another layer, of other columns, or damaged.
    """
    folders = {}
    for layer, source in sources(env).items():
        kept = None if pinned is None else pinned / layer
        if kept is not None and kept.is_dir():
            folder = kept
        else:
            folder = _found(source, layer, env, tracking_uri, cache / layer)
        try:
            load_artefact(folder, ABOVE[layer])
        except ArtefactError as error:
            raise _told(layer, source, error) from error
        folders[layer] = str(folder.resolve())
    return _placed(env, folders)


def pin(env: E, pinned: Path) -> E:
    """Copy the artefacts of a resolved configuration to `pinned`; the configuration of those."""
    folders = {}
    for layer, source in sources(env).items():
        kept = pinned / layer
        if Path(source) != kept.resolve():
            _copy(Path(source), kept)
        folders[layer] = str(kept.resolve())
    return _placed(env, folders)


def _copy(source: Path, target: Path) -> None:
    """One folder of files in place of another, if there is one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        temporary.chmod(0o755)  # mkdtemp's own mode shuts other users out
        shutil.rmtree(target, ignore_errors=True)  # of a run killed before its first checkpoint
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def digests(env: Environment) -> dict[str, str]:
    """The SHA-256 of the networks that a resolved configuration names, by layer."""
    return {
        layer: load_artefact(Path(folder), ABOVE[layer]).manifest.onnx_sha256
        for layer, folder in sources(env).items()
    }


def frozen(folder: str, layer: str, kind: type[L], **run: object) -> Frozen[L]:
    """The policy in `folder`, and the environment that it was trained in, moved to a run.

    Args:
        kind: of that environment's configuration.
        run: what of it the run sets: its market above all.

    Raises:
        ArtefactError: see `load_artefact`; or its configuration is not of this version.
    """
    try:
        artefact = load_artefact(Path(folder), ABOVE[layer])
        policy = OnnxPolicy(artefact)
    except ArtefactError as error:
        raise _told(layer, folder, error) from error
    trained = artefact.manifest.config.get("env")
    # It plays the bars themselves and is paid nothing: both were for its own training.
    own: dict[str, Any] = {"augmentation": {}, "reward": {}}
    told = {**(trained if isinstance(trained, dict) else {}), **own, **run}
    try:
        config = kind.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(
            f"{folder}: the configuration in its manifest is not one of this version (env.{where}: "
            f"{first['msg']}); train it again with `grandmodel train {layer}`"
        ) from error
    return Frozen(policy, artefact, config)


def _found(source: str, layer: str, env: Environment, tracking_uri: str, cache: Path) -> Path:
    """Of a folder of models, the champion of this market where it has one."""
    market = env.market.name
    own = (Path(source) / layer / market).is_dir()
    try:
        return resolve(
            source, layer, market=market if own else None, tracking_uri=tracking_uri, cache=cache
        )
    except ArtefactError as error:
        raise _told(layer, source, error) from error


def _told(layer: str, source: str, error: ArtefactError) -> ArtefactError:
    """The same with the setting that named it; a training has no --models."""
    key = f"env.upstream.{layer}"
    return ArtefactError(f"{key}={source}: " + str(error).replace("--models", f"--set {key}=..."))


def _placed(env: E, folders: Mapping[str, str]) -> E:
    if not folders or isinstance(env, StrategicConfig):
        return env
    upstream = env.upstream.model_copy(update=dict(folders))
    placed: Any = env.model_copy(update={"upstream": upstream})
    return cast(E, placed)

"""The present champion of a model: where it is found, run again, and replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from cascade.artefact import Manifest, load_artefact
from cascade.policy import OnnxPolicy
from cascade.registry import CHAMPION, mirror
from configs.errors import ArtefactError, TrackingError
from configs.train import Environment
from signals.layout import LayerLayout
from trainers.differences import as_judged, differences
from trainers.tracking import Promotion, Run, flatten

LOCAL = "local"  # the version of a champion that is found in the mirror
_SHOWN = 12  # hex digits of a network


@dataclass(frozen=True)
class Champion:
    """The champion as it can be run again now; `unusable` says why it cannot."""

    version: str
    folder: Path
    policy: OnnxPolicy | None
    unusable: str | None
    manifest: Manifest | None = None


def find_champion(
    run: Run | None, name: str, layout: LayerLayout, models: Path, market: str, scratch: Path
) -> Champion | None:
    """The champion of the model `name`: the mirror's where it can be run, else the registry's.

    Deciding uses the mirror's, so where the two differ that one is to be beaten; where
    they are the same network, the registry's is returned, for its version. A copy of
    a registered one is left in `scratch`; one whose artefact is gone is unusable.

    Raises:
        TrackingError: the registry fails.
    """
    link = models / layout.layer / market / CHAMPION
    local = _load(LOCAL, link, layout) if link.is_dir() else None
    registered = None if run is None else _registered(run, name, layout, scratch / CHAMPION)
    if registered is None:
        return local
    if local is None or local.manifest is None:
        return registered
    if registered.manifest is None:
        return local
    same = local.manifest.onnx_sha256 == registered.manifest.onnx_sha256
    return registered if same else local


def other_environment(
    champion: Champion | None, env: Environment, upstream: Mapping[str, str] | None = None
) -> str | None:
    """The settings of `env` in which the champion was trained otherwise; None where in none.

    What training alone knows, such as its reward, does not count. Artefacts of layers above are
    the same where their networks are (`upstream`, SHA-256 by layer), wherever they lie.
    """
    if champion is None or champion.manifest is None:
        return None
    then = _environment(champion.manifest.config, type(env))
    now = flatten(env.model_dump(mode="json"))
    for told, loaded in ((then, champion.manifest.upstream), (now, upstream or {})):
        told.update({f"upstream.{layer}": digest[:_SHOWN] for layer, digest in loaded.items()})
    return differences(as_judged(now), as_judged(then), "its", "env.")


def _environment(config: dict[str, JsonValue], kind: type[Environment]) -> dict[str, str]:
    """The environment of a manifest, flat; settings that are newer than it by their defaults."""
    env = config.get("env")
    if not isinstance(env, dict):
        return {}
    try:
        return flatten(kind.model_validate(env).model_dump(mode="json"))
    except ValidationError:  # of another version: what is written there differs as it stands
        return flatten(env)


def _registered(run: Run, name: str, layout: LayerLayout, scratch: Path) -> Champion | None:
    version = run.champion(name)
    if version is None:
        return None
    try:
        folder = run.fetch(version, scratch)
    except TrackingError as error:
        return Champion(version.version, scratch, None, str(error))
    return _load(version.version, folder, layout)


def _load(version: str, folder: Path, layout: LayerLayout) -> Champion:
    try:
        artefact = load_artefact(folder, layout)
        policy = OnnxPolicy(artefact)
    except ArtefactError as error:
        return Champion(version, folder, None, str(error))
    return Champion(version, folder, policy, None, artefact.manifest)


def keep_mirror(
    decided: Promotion,
    artefact: Path,
    champion: Champion | None,
    models: Path,
    layer: str,
    market: str,
) -> Path:
    """Bring the mirror in line with a promotion; returns the champion's link.

    A new champion takes the link. Otherwise the present one keeps it, and is put
    there where the mirror was lost.
    """
    link = models / layer / market / CHAMPION
    if decided.alias == "champion":
        return mirror(artefact, models, layer, market)
    if not link.is_dir() and champion is not None and champion.policy is not None:
        return mirror(champion.folder, models, layer, market)
    return link

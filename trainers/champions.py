"""The present champion of a model: where it is found, run again, and replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cascade.artefact import load_artefact
from cascade.policy import OnnxPolicy
from cascade.registry import CHAMPION, mirror
from configs.errors import ArtefactError
from signals.layout import LayerLayout
from trainers.tracking import Promotion, Run

LOCAL = "local"  # the version of a champion that only the mirror knows


@dataclass(frozen=True)
class Champion:
    """The champion as it can be run again now; `unusable` says why it cannot."""

    version: str
    folder: Path
    policy: OnnxPolicy | None
    unusable: str | None


def find_champion(
    run: Run | None, name: str, layout: LayerLayout, models: Path, market: str, scratch: Path
) -> Champion | None:
    """The champion of the model `name`: from the registry, or the mirror where none is kept.

    A copy of a registered one is left in `scratch`.

    Raises:
        TrackingError: the registry fails.
    """
    if run is None:
        folder = models / layout.layer / market / CHAMPION
        return _load(LOCAL, folder, layout) if folder.is_dir() else None
    version = run.champion(name)
    if version is None:
        return None
    folder = run.fetch(version, scratch / CHAMPION)
    return _load(version.version, folder, layout)


def _load(version: str, folder: Path, layout: LayerLayout) -> Champion:
    try:
        policy = OnnxPolicy(load_artefact(folder, layout))
    except ArtefactError as error:
        return Champion(version, folder, None, str(error))
    return Champion(version, folder, policy, None)


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

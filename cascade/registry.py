"""Where a layer's champion lies: a mirrored folder, a given folder, or a model registry.

The mirror `models/<layer>/<market>/champion` is a link that training replaces
atomically when it promotes, so that deciding needs no tracking store. A
`models:/NAME@ALIAS` reference is resolved by a short subprocess: the deciding
process itself never imports mlflow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cascade.artefact import MANIFEST_FILE, read_manifest
from configs.errors import ArtefactError

CHAMPION = "champion"
VERSIONS = "versions"
REGISTRY_PREFIX = "models:/"
SQLITE_PREFIX = "sqlite:///"
REGISTRY_SECONDS = 120.0

_FETCH = """
import json, logging, os, sys
logging.disable(logging.CRITICAL)
try:
    import mlflow
except ModuleNotFoundError as error:
    print(json.dumps({"missing": error.name}))
    sys.exit(0)
try:
    mlflow.set_tracking_uri(sys.argv[3])
    folder = mlflow.artifacts.download_artifacts(artifact_uri=sys.argv[1], dst_path=sys.argv[2])
    print(json.dumps({"folder": os.fspath(folder)}))
except Exception as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(json.dumps({"error": lines[0]}))
"""


def resolve(
    reference: str | Path,
    layer: str,
    *,
    market: str | None = None,
    tracking_uri: str,
    cache: Path,
) -> Path:
    """The folder of the artefact that `reference` names.

    Args:
        reference: an artefact's folder; a folder of models that training keeps
            (the champion of `layer` in it is taken); or `models:/NAME@ALIAS`
            or `models:/NAME/VERSION` of a registry.
        layer: the layer to decide for.
        market: the market whose champion is wanted, of a folder of models alone; None
            takes the latest promoted.
        tracking_uri: the registry's store, for `models:/` references.
        cache: where a registry's artefact is downloaded to.

    Raises:
        ArtefactError: nothing there (the message says what was looked for), or a
            `market` where there is nothing to pick from.
    """
    text = str(reference)
    folder = Path(text)
    registered = text.startswith(REGISTRY_PREFIX)
    if registered or (folder / MANIFEST_FILE).is_file():
        if market is not None:
            raise ArtefactError(
                f"--market {market} picks among the champions of a folder of models, but {text} "
                "names one artefact; leave --market out, or name the folder of models"
            )
        return _download(text, tracking_uri, cache) if registered else folder
    for root in (folder / layer, folder):
        place = root / market if market is not None else root
        if (place / CHAMPION / MANIFEST_FILE).is_file():
            return place / CHAMPION
    raise ArtefactError(_nothing_found(folder, layer, market))


def mirror(artefact: Path, models: Path, layer: str, market: str) -> Path:
    """Copy `artefact` beside the other versions of its market and link it as champion.

    Readers see the champion before or the champion after, never half of one. A
    second link, of the layer, names the market promoted last.

    Returns:
        The link `models/<layer>/<market>/champion`.
    """
    name = read_manifest(artefact).onnx_sha256[:16]
    home = Path(models) / layer / market
    versions = home / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    target = versions / name
    temporary = Path(tempfile.mkdtemp(dir=versions, prefix=".new-"))
    try:
        shutil.copytree(artefact, temporary, dirs_exist_ok=True)
        temporary.chmod(0o755)  # mkdtemp's own mode shuts other users out
        if target.exists():
            # The same network under a new manifest: move the old one out of the way first.
            target = versions / f"{name}-{len(list(versions.glob(name + '*')))}"
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    link = home / CHAMPION
    _relink(link, Path(VERSIONS) / target.name)
    _relink(Path(models) / layer / CHAMPION, Path(market) / CHAMPION)
    return link


def _relink(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target, target_is_directory=True)
    os.replace(temporary, link)


def _nothing_found(folder: Path, layer: str, market: str | None) -> str:
    wanted = f"{layer}/{market}/{CHAMPION}" if market is not None else f"{layer}/{CHAMPION}"
    if not folder.is_dir():
        return (
            f"no models at {folder}: expected an artefact's folder or one with {wanted}; "
            f"train first (`grandmodel train {layer}`) or name the folder with --models"
        )
    links = sorted({p.parent.relative_to(folder).as_posix() for p in folder.glob(f"**/{CHAMPION}")})
    known = ", ".join(links) if links else "none"
    return (
        f"{folder} holds neither {MANIFEST_FILE} nor {wanted} (champions there: {known}); "
        f"train first (`grandmodel train {layer}`) or name the folder with --models"
    )


def _download(reference: str, tracking_uri: str, cache: Path) -> Path:
    # mlflow would create a missing database, and then find nothing in it.
    store = tracking_uri.removeprefix(SQLITE_PREFIX)
    if store != tracking_uri and not Path(store.partition("?")[0]).is_file():
        raise ArtefactError(
            f"{reference} needs a model registry, and there is none at {tracking_uri}; "
            "set MLFLOW_TRACKING_URI, or decide from a local folder with --models"
        )
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _FETCH, reference, str(cache), tracking_uri]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=REGISTRY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArtefactError(
            f"{reference} did not arrive from {tracking_uri} within {REGISTRY_SECONDS:.0f} s; "
            "check MLFLOW_TRACKING_URI, or decide from a local folder with --models"
        ) from error
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if "missing" in answer:
        raise ArtefactError(
            f"{reference} needs a model registry's client, and '{answer['missing']}' is not "
            "installed; install grandmodel[serve], or decide from a local folder with --models"
        )
    if "folder" not in answer:
        reason = answer.get("error") or f"the client ended with code {done.returncode}"
        raise ArtefactError(
            f"{reference} is not in the registry at {tracking_uri}: {reason}; "
            "check the name, the alias and MLFLOW_TRACKING_URI"
        )
    return Path(answer["folder"])

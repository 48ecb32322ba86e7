"""What is evaluated: the policy, the environment that it was trained in, the split it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade.artefact import MANIFEST_FILE, Manifest, load_artefact, read_manifest
from cascade.policy import OnnxPolicy
from cascade.registry import CHAMPION, REGISTRY_PREFIX, resolve
from configs.errors import ArtefactError, ConfigError, nearest
from configs.loading import load_config
from configs.splits import Split
from configs.train import TRAININGS, Environment, LayerTraining
from market.splits import SPLITS
from trainers.evaluate import Actor
from trainers.layers import LAYERS, Layer
from trainers.provenance import commit
from trainers.runs import ARTEFACT_FOLDER, UPSTREAM_FOLDER, read_run
from trainers.upstream.artefacts import digests, resolved
from trainers.upstream.dates import dates_of, refuse_seen
from trainers.volume_baselines import volume_baselines

POLICY = "policy"
_SHOWN = 12  # hex digits of a network


@dataclass(frozen=True)
class Subject:
    """A policy with all that evaluating it takes.

    Attributes:
        folder: of the artefact.
        settings: of its training, from the manifest; `settings.env` with a folder for every
            artefact of a layer above.
        run: folder of the run that trained it; None of an artefact alone.
        tracked: id of that run in the tracking store, where it has one.
    """

    layer: Layer
    policy: OnnxPolicy
    manifest: Manifest
    folder: Path
    settings: LayerTraining
    run: Path | None
    tracked: str | None

    @property
    def env(self) -> Environment:
        return self.settings.env

    def baselines(self) -> Mapping[str, Actor]:
        """Who is played beside it: the layer's own, of execution VWAP and POV as well."""
        told = self.settings.evaluation
        out = dict(self.layer.baselines(self.env, told))
        if self.layer.name == "execution":
            env = self.env
            out |= volume_baselines(env, told.passive_slice_steps)  # type: ignore[arg-type]
        return out

    def differences(self) -> tuple[str, ...]:
        """In what this code differs from the one that trained it, in words."""
        own = commit().told
        if own == self.manifest.commit:
            return ()
        return (
            f"trained at commit {self.manifest.commit[:_SHOWN]}, evaluated at {own[:_SHOWN]}: the "
            "simulator's code may differ, the environment's version and columns do not",
        )


def find_subject(
    place: str, *, layer: str | None, models: str, tracking_uri: str, cache: Path
) -> Subject:
    """The policy that `place` names, loaded, with its environment.

    Args:
        place: a run's folder, an artefact's, "champion" (of `layer`, in `models`), or
            models:/NAME@ALIAS.
        cache: where a registry's artefacts are downloaded to.

    Raises:
        ArtefactError: there is none, it is damaged, of other columns, or its configuration or
            the layers above it are not those that it was trained with.
        ConfigError: no such layer, or none named where one must be.
    """
    folder, run = _folder(place, layer, models, tracking_uri, cache)
    manifest = read_manifest(folder)
    if layer is not None and layer != manifest.layer:
        raise ConfigError(
            f"--layer {layer}, but {folder} is of layer '{manifest.layer}': leave --layer out, or "
            "name another artefact"
        )
    if manifest.layer not in LAYERS:
        raise ArtefactError(f"{folder} is of {nearest(manifest.layer, LAYERS)}")
    told = LAYERS[manifest.layer]
    artefact = load_artefact(folder, told.layout)
    settings = _settings(manifest, folder)
    pinned = None if run is None else run / UPSTREAM_FOLDER
    env = resolved(settings.env, pinned, tracking_uri, cache / UPSTREAM_FOLDER)
    _check_above(manifest, folder, env)
    kept = None if run is None else read_run(run)
    return Subject(
        told,
        OnnxPolicy(artefact),
        manifest,
        folder,
        settings.model_copy(update={"env": env}),
        run,
        None if kept is None else kept.tracking_run,
    )


def checked_split(name: str) -> Split:
    """The split of that name.

    Raises:
        ConfigError: there is none.
    """
    for split in SPLITS:
        if split == name:
            return split
    raise ConfigError(f"--split {name}: expected one of {', '.join(SPLITS)}")


def check_unseen(subject: Subject, split: Split) -> str:
    """What keeps the split apart from the training, in words.

    Raises:
        ArtefactError: the policy was trained on dates that it holds, or does not say on which.
        ConfigError: the market is generated without splits, of which one was asked for.
    """
    mine = dates_of(subject.env, split)
    if mine is None:
        if split != "test":
            raise ConfigError(
                f"--split {split}: {subject.folder} was trained on generated paths, which have no "
                "splits; expected --split test: paths that no training draws"
            )
        return (
            "Episodes are generated from seeds that training never draws: its own come from a "
            "stream apart."
        )
    seen = subject.manifest.trained_on
    if seen is not None and seen.overlaps(mine):
        raise ArtefactError(
            f"{subject.folder} was trained on {seen}, and the {split} split holds {mine}: expected "
            "dates that it has not seen, on which alone its result means anything; evaluate it on "
            "--split test"
        )
    refuse_seen(subject.manifest, str(subject.folder), split, mine)
    said = f"The {split} split holds {mine}; the policy was trained on {seen}: no date is in both."
    if split == "validation":
        said += " Settings may have been chosen on the validation split: it is no test."
    return said


def _folder(
    place: str, layer: str | None, models: str, tracking_uri: str, cache: Path
) -> tuple[Path, Path | None]:
    """The artefact's folder, and the run's where it lies in one."""
    if place == CHAMPION or place.startswith(REGISTRY_PREFIX):
        source = models if place == CHAMPION else place
        if place == CHAMPION and layer is None:
            raise ConfigError(
                "evaluate champion: expected the layer whose champion is meant; add --layer "
                f"{' or --layer '.join(LAYERS)}"
            )
        found = resolve(source, layer or "", tracking_uri=tracking_uri, cache=cache / CHAMPION)
        return found.resolve(), None
    given = Path(place)
    for folder in (given / ARTEFACT_FOLDER, given):
        if (folder / MANIFEST_FILE).is_file():
            run = folder.parent if folder.name == ARTEFACT_FOLDER else None
            return folder, run if run is not None and read_run(run) is not None else None
    raise ArtefactError(
        f"{place}: expected the folder of a finished run (with {ARTEFACT_FOLDER}/{MANIFEST_FILE}) "
        "or of an artefact, 'champion' with --layer, or models:/NAME@ALIAS; train first with "
        "`grandmodel train LAYER`"
    )


def _settings(manifest: Manifest, folder: Path) -> LayerTraining:
    kind = TRAININGS[manifest.layer]
    if not isinstance(manifest.config.get("env"), dict):
        raise ArtefactError(
            f"{folder}: the manifest's config has no 'env', so that the simulator it was trained "
            "in is not known; train it again"
        )
    try:
        return load_config(kind, manifest.config)
    except ConfigError as error:
        raise ArtefactError(
            f"{folder}: the manifest's config is not one of this version ({error}), and in another "
            f"simulator it would not be the same policy; train it again with `grandmodel train "
            f"{manifest.layer}`"
        ) from error


def _check_above(manifest: Manifest, folder: Path, env: Environment) -> None:
    """Refuse other artefacts of the layers above than it was trained under."""
    now = digests(env)
    differing = sorted(
        layer
        for layer in now.keys() | manifest.upstream.keys()
        if now.get(layer) != manifest.upstream.get(layer)
    )
    if differing:
        layer = differing[0]
        raise ArtefactError(
            f"{folder} was trained under {layer} {_short(manifest.upstream.get(layer))}, and what "
            f"its configuration names now is {_short(now.get(layer))}: expected the same network; "
            "evaluate the run's folder, which keeps the artefacts that it was trained under"
        )


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:_SHOWN]

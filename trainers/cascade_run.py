"""The folder of a training of all layers: their settings, and a run of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from configs.errors import TrainingError
from configs.loading import dump_yaml
from configs.train import LayerTraining
from configs.train_cascade import ORDER, load_cascade, overrides_of
from trainers.report import replace
from trainers.runs import ARTEFACT_FOLDER, RunFolder, load_run, new_run, read_run, resumable

CASCADE_FILE = "cascade.json"
FAMILY = "cascade"
_STAMP = "%Y%m%d-%H%M%S-%f"


@dataclass
class CascadeFolder:
    """One training of all layers on disk: LAYER.yaml and a run folder LAYER for each."""

    path: Path
    tracking_run: str | None = None
    finished: bool = False

    def settings(self, layer: str) -> Path:
        return self.path / f"{layer}.yaml"

    def run(self, layer: str) -> Path:
        return self.path / layer

    def begin(self, configs: Mapping[str, LayerTraining], tracking_run: str | None) -> None:
        """Write down what is to be trained."""
        self.tracking_run = tracking_run
        for layer, config in configs.items():
            replace(self.settings(layer), dump_yaml(config).encode())
        self._save()

    def finish(self) -> None:
        """Mark it as done: there is nothing left to resume."""
        self.finished = True
        self._save()

    def _save(self) -> None:
        fields = {"tracking_run": self.tracking_run, "finished": self.finished}
        replace(self.path / CASCADE_FILE, (json.dumps(fields, indent=2) + "\n").encode())


def load_cascade_run(
    presets: Sequence[str],
    files: Sequence[Path],
    overrides: Sequence[str],
    seed: int | None,
    output: str | None,
    resume: bool,
) -> tuple[dict[str, LayerTraining], CascadeFolder]:
    """The settings of all layers and the folder, to begin or, with `resume`, to go on with.

    Raises:
        ConfigError: see `configs.train_cascade.load_cascade`.
        TrainingError: nothing to resume, or `output` holds a training already.
    """
    if resume:
        folder = _resumed(output, load_cascade(presets, files, overrides, seed))
        base = {layer: folder.settings(layer) for layer in ORDER}
        return load_cascade(presets, files, overrides, seed, base), folder
    configs = load_cascade(presets, files, overrides, seed)
    last = configs[ORDER[-1]]
    stamp = datetime.now().astimezone().strftime(_STAMP)
    name = f"{FAMILY}-{last.env.market.name}-{stamp}"
    folder = CascadeFolder(Path(last.output) / name if output is None else Path(output))
    if (folder.path / CASCADE_FILE).exists():
        raise TrainingError(
            f"{folder.path} holds a training of all layers already: add --resume to go on with it, "
            "or choose another folder with --output"
        )
    return _under_each_other(configs, folder), folder


def layer_run(
    config: LayerTraining, folder: CascadeFolder, overrides: Sequence[str]
) -> tuple[LayerTraining, RunFolder, bool]:
    """The run of one layer: (its settings, its folder, whether there is a checkpoint).

    Raises:
        TrainingError: it was begun in another environment than `overrides` give.
    """
    path = folder.run(config.layer)
    if (found := read_run(path)) is not None and found.finished:
        return config, found, True
    if found is None or not resumable(path):
        return config, new_run(config, str(path)), False
    given = overrides_of(config.layer, overrides)
    begun, run = load_run(config.layer, [], [], given, None, str(path), resume=True)
    return begun, run, True


def _under_each_other(
    configs: Mapping[str, LayerTraining], folder: CascadeFolder
) -> dict[str, LayerTraining]:
    """The settings with the artefacts that the layers above will leave in the folder."""
    found = dict(configs)
    for number, layer in enumerate(ORDER[1:], 1):
        places = {above: str(folder.run(above) / ARTEFACT_FOLDER) for above in ORDER[:number]}
        told = configs[layer].model_dump(mode="json")
        told["env"]["upstream"] |= places
        found[layer] = type(configs[layer]).model_validate(told)
    return found


def _resumed(output: str | None, configs: Mapping[str, LayerTraining]) -> CascadeFolder:
    """The training in `output`, or the latest unfinished one."""
    root = Path(configs[ORDER[-1]].output)
    if output is not None:
        return _read(Path(output))
    paths = sorted(path.parent for path in root.glob(f"{FAMILY}-*/{CASCADE_FILE}"))
    unfinished = [found for found in map(_read, paths) if not found.finished]
    if not unfinished:
        raise TrainingError(
            f"no unfinished training of all layers under {root}: nothing to resume; run without "
            "--resume, or name its folder with --output"
        )
    return max(unfinished, key=lambda found: found.path.stat().st_ctime_ns)


def _read(path: Path) -> CascadeFolder:
    file = path / CASCADE_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        tracking_run, finished = fields["tracking_run"], fields["finished"]
    except FileNotFoundError:
        raise TrainingError(
            f"{path} holds no training of all layers ({CASCADE_FILE} is missing); run without "
            "--resume to begin one there"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(
            f"{file} cannot be read ({error}): expected an object with tracking_run and finished; "
            "name another folder with --output, or begin a new training"
        ) from error
    return CascadeFolder(path, tracking_run, bool(finished))

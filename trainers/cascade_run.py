"""The folder of a training of all layers: their settings, and a run of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import TrainingError
from configs.loading import dump_yaml
from configs.train import LayerTraining, load_training
from configs.train_cascade import ORDER, load_cascade
from trainers.differences import differences
from trainers.layers import LAYERS
from trainers.report import replace
from trainers.runs import (
    ARTEFACT_FOLDER,
    CONFIG_FILE,
    RunFolder,
    check_environment,
    new_run,
    read_run,
    resumable,
)
from trainers.tracking import flatten
from trainers.work_folder import WorkFolder


@dataclass
class CascadeFolder(WorkFolder):
    """One training of all layers on disk: LAYER.yaml and a run folder LAYER for each."""

    family = "cascade"
    what = "training of all layers"
    file = "cascade.json"

    def settings(self, layer: str) -> Path:
        return self.path / f"{layer}.yaml"

    def run(self, layer: str) -> Path:
        return self.path / layer

    def begin(self, configs: Mapping[str, LayerTraining], tracking_run: str | None) -> None:
        """Write down what is to be trained."""
        self.tracking_run = tracking_run
        for layer, config in configs.items():
            replace(self.settings(layer), dump_yaml(config).encode())
        self.save()


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
        configs = load_cascade(presets, files, overrides, seed)
        folder = CascadeFolder.begun(configs[ORDER[-1]].output, output)
        base = {layer: folder.settings(layer) for layer in ORDER}
        return load_cascade(presets, files, overrides, seed, base), folder
    configs = load_cascade(presets, files, overrides, seed)
    last = configs[ORDER[-1]]
    folder = CascadeFolder.fresh(last.output, last.env.market.name, output)
    return _under_each_other(configs, folder), folder


def layer_run(config: LayerTraining, folder: CascadeFolder) -> tuple[RunFolder, bool]:
    """The run of one layer: (its folder, whether it was begun before).

    Raises:
        TrainingError: it was begun with other settings than `config`, which it cannot go on with.
    """
    path, layer = folder.run(config.layer), LAYERS[config.layer]
    found = read_run(path)
    if found is None or not (found.finished or resumable(path)):
        return new_run(config, str(path)), False
    begun = load_training(config.layer, path / CONFIG_FILE)
    if found.finished:
        now, then = (flatten(each.model_dump(mode="json")) for each in (config, begun))
        if (changed := differences(now, then, "was")) is not None:
            raise TrainingError(
                f"the {config.layer} layer is trained ({path}), with other settings than these: "
                f"{changed}; expected none of a finished layer to change: set those of the others "
                "by LAYER.KEY, or begin a new training of all layers"
            )
    else:
        check_environment(config, begun, found)
        found.check_resumable(config.mappo, layer.make, layer.plan(config.mappo))
    return found, True


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

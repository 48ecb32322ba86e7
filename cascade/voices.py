"""What is asked of each layer's artefact: the mode of its policy, or a sample."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.deadlines import Ask
from cascade.models import LAYERS, LayerModel, Models
from configs.cascade import CascadeConfig
from signals.noise import JointNoise, derive_seeds


class Voices:
    """The layers' calls, and where their answers lie.

    Attributes:
        asks: by layer, runs its network on its row.
        answers: by layer, float32 [action width], the joint action that `asks` leaves.
        keys: by layer, the number of the decision, by which its samples are drawn.
    """

    def __init__(self, models: Models, config: CascadeConfig) -> None:
        """See `bind`."""
        self._models, self._config = models, config
        self.keys = dict.fromkeys(LAYERS, 0)
        self.asks: dict[str, Ask] = {}
        self.answers: dict[str, NDArray[np.float32]] = {}
        self.bind()

    def bind(self) -> None:
        """Ask the artefacts that are in use now.

        Raises:
            ArtefactError: a layer is to be sampled, and its artefact has no such graph.
        """
        self.asks, self.answers = {}, {}
        for number, layer in enumerate(LAYERS):
            model = self._models.active.get(layer)
            if model is None:
                continue
            self.asks[layer], self.answers[layer] = model.decide, model.actions
            if layer in self._config.sample:
                model.prove_samples()
                self.answers[layer] = np.zeros_like(model.actions)
                # Each layer has draws of its own.
                seeds = derive_seeds(self._config.seed, number, count=1)
                self.asks[layer] = partial(self._sample, model, JointNoise(model.layout), seeds)

    def _sample(self, model: LayerModel[Any], noise: JointNoise, seeds: NDArray[np.uint64]) -> None:
        """A sampled joint action, and the probabilities; noise keyed by (seed, step, agent)."""
        model.decide()
        drawn = noise(seeds, np.array([self.keys[model.layer]], np.int64))
        self.answers[model.layer][:] = model.sample(drawn)

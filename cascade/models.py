"""The artefacts of a running cascade: loaded, changed between two steps, rolled back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cascade.artefact import POLICY, REGIME_MODEL_FILE, Manifest, load_artefact
from cascade.graphs import (
    ACTIONS,
    INFORMATION,
    NOISE,
    PROBABILITIES,
    ROWS,
    SAMPLED_ACTIONS,
    SAMPLING,
    UNCERTAINTY,
    BoundGraph,
)
from cascade.policy import OnnxPolicy
from configs.barwise import LayerConfig
from configs.errors import ArtefactError, ConfigError
from configs.execution import ExecutionConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from market.kernels import kernel
from signals.execution import EXECUTION
from signals.expected_return import RETURN_MAP_FILE, read_return_map
from signals.layout import LayerLayout
from signals.regime import RegimeModel
from signals.said import tactical_given_strategic
from signals.strategic import STRATEGIC
from signals.superposition import DIRECTIONS
from signals.tactical import TACTICAL

C = TypeVar("C", StrategicConfig, TacticalConfig, ExecutionConfig)
_Kind = type[StrategicConfig] | type[TacticalConfig] | type[ExecutionConfig]

LAYERS: Mapping[str, tuple[LayerLayout, _Kind]] = {
    STRATEGIC.layer: (STRATEGIC, StrategicConfig),
    TACTICAL.layer: (TACTICAL, TacticalConfig),
    EXECUTION.layer: (EXECUTION, ExecutionConfig),
}


# Keys of `env` that all artefacts of a layer share within a session.
_ONE_SESSION: Mapping[str, tuple[str, ...]] = {
    STRATEGIC.layer: ("bar_minutes", "signals", "horizon_bars", "account", "decision"),
    TACTICAL.layer: ("bar_minutes", "signals", "horizon_bars", "account", "tilt", "past_bars"),
    EXECUTION.layer: ("step_seconds", "parent", "child"),
}


def action_bounds(layout: LayerLayout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest joint action, float32 [action width] each."""
    low = np.zeros(layout.action_width, np.float32)
    high = np.ones(layout.action_width, np.float32)
    for index, agent in enumerate(layout.agents):
        if agent.kind == "discrete":
            high[layout.action_slice(index)] = len(agent.components) - 1
    return low, high


@kernel
def _sound(actions: Any, low: Any, high: Any, probabilities: Any) -> bool:
    """Whether an answer is finite, and inside the layer's actions; float32 [width] each."""
    sound = True
    for index in range(len(actions)):
        # A comparison with NaN is false.
        sound = sound and low[index] <= actions[index] <= high[index]
    for index in range(len(probabilities)):
        sound = sound and math.isfinite(probabilities[index])
    return sound


class LayerModel(Generic[C]):
    """One layer's artefact, ready to decide: its policy bound to arrays of its own.

    Attributes:
        row: float32 [row width], to be filled before `decide`.
        actions, probabilities: float32 [width], what `decide` leaves.
        conditional: of a tactical artefact, whether `ask` also answers `row` with the layer above
            certain of each direction (`signals.said.tactical_given_strategic`).
        given: of a tactical artefact, float32 [3, row width] and [3, probabilities' width]:
            those rows, and what they were answered.
        information: of a strategic artefact with dropout, mutual information of each agent's
            choice and the masks, nats; None otherwise.
        digest: SHA-256 of the network.
        regimes: of a strategic artefact, the model of its regime columns.
        returns: what its scores have been worth; None where that was not fitted.
    """

    def __init__(self, layer: str, folder: Path, kind: type[C]) -> None:
        layout, _ = LAYERS[layer]
        artefact = load_artefact(folder, layout)
        self.layer, self.folder, self.layout = layer, Path(folder), layout
        self.manifest: Manifest = artefact.manifest
        self.digest = artefact.manifest.onnx_sha256
        self.config: C = environment_config(artefact.manifest, folder, kind)
        self.policy = OnnxPolicy(artefact)
        # The strategic layer's graph of masks gives the decision and how sure it is at once.
        doubts = layer == STRATEGIC.layer and self.policy.doubts
        bound = self.policy.bound(UNCERTAINTY if doubts else POLICY)
        self.information = bound.outputs[INFORMATION][0] if doubts else None
        self.row = bound.inputs[ROWS][0]
        self.actions = bound.outputs[ACTIONS][0]
        self.probabilities = bound.outputs[PROBABILITIES][0]
        self._run = bound.run
        self._low, self._high = action_bounds(layout)
        self.regimes = None
        if layer == STRATEGIC.layer:
            if REGIME_MODEL_FILE not in artefact.manifest.files:
                raise ArtefactError(
                    f"{folder} has no {REGIME_MODEL_FILE} by its manifest, which its rows are "
                    "computed with; export it again with `grandmodel train strategic`"
                )
            self.regimes = RegimeModel.load(Path(folder) / REGIME_MODEL_FILE)
        self.returns = None
        if RETURN_MAP_FILE in artefact.manifest.files:
            self.returns = read_return_map(Path(folder) / RETURN_MAP_FILE)
        self.conditional, self._beside = False, None
        if layer == TACTICAL.layer:
            self._beside = self.policy.bound(POLICY, 1 + len(DIRECTIONS))
            rows, answers = self._beside.inputs[ROWS], self._beside.outputs[PROBABILITIES]
            self.given = rows[1:], answers[1:]
        self._sampling: BoundGraph | None = None
        self._prove()

    def _prove(self) -> None:
        """Run once: the first run allocates, and shows what no check of names and widths can.

        Raises:
            ArtefactError: its network cannot be run on rows of this version.
        """
        try:
            if self._beside is not None:
                self._beside.run()
            self.decide()
        except ArtefactError:
            raise
        # ONNX Runtime's exceptions share no base below Exception; each means a bad file here.
        except Exception as error:
            raise ArtefactError(
                f"{self.folder}: its network fails on its first rows "
                f"({str(error).splitlines()[0]}), expected float32 of any number of rows; export "
                "it again"
            ) from error

    def decide(self) -> None:
        """Ask, or whatever stands in for `ask` where faults are injected.

        Raises:
            ArtefactError: the answer is not finite, or lies outside the layer's actions.
        """
        self.ask()

    def described(self) -> dict[str, str]:
        """What a log says of it."""
        return {
            "folder": str(self.folder.resolve()),
            "digest": self.digest,
            "commit": self.manifest.commit,
            "market": self.manifest.market,
        }

    def check_stands_in(self, old: LayerModel[Any]) -> None:
        """Raise ArtefactError where it cannot take the place of `old` within a session."""
        for key in _ONE_SESSION[self.layer]:
            mine, other = getattr(old.config, key), getattr(self.config, key)
            if mine != other:
                raise ArtefactError(
                    f"{self.folder} was trained with env.{key} {other!r}, this session runs with "
                    f"{mine!r}; begin a new session for it"
                )

    def prove_samples(self) -> None:
        """Make ready for `sample`.

        Raises:
            ArtefactError: the artefact has no such graph.
        """
        if self._sampling is None:
            self._sampling = self.policy.bound(SAMPLING)

    def sample(self, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """The joint action that `noise` [1, layout.noise_width] samples for `row`.

        As `OnnxPolicy.sample` gives it; overwritten by the next call. See `prove_samples`.

        Raises:
            ArtefactError: see `decide`.
        """
        assert self._sampling is not None
        self._sampling.inputs[ROWS][0] = self.row
        self._sampling.inputs[NOISE][:] = noise
        self._sampling.run()
        return self._checked(self._sampling.outputs[SAMPLED_ACTIONS][0])

    def ask(self) -> None:
        """Run the network once on `row`."""
        if self.conditional and self._beside is not None:
            rows, answers = self._beside.inputs[ROWS], self._beside.outputs
            rows[0], rows[1:] = self.row, tactical_given_strategic(self.row[None])
            self._beside.run()
            self.actions[:] = answers[ACTIONS][0]
            self.probabilities[:] = answers[PROBABILITIES][0]
        else:
            self._run()
        self._checked(self.actions)

    def _checked(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        if not _sound(actions, self._low, self._high, self.probabilities):
            raise ArtefactError(
                f"{self.folder} answered {actions.tolist()}, expected finite actions within "
                "their space; export it again"
            )
        return actions


def environment_config(manifest: Manifest, folder: Path, kind: type[C]) -> C:
    """The environment that an artefact was trained in.

    Raises:
        ArtefactError: the manifest's configuration is not one of this version.
    """
    trained = manifest.config.get("env")
    if not isinstance(trained, dict):
        raise ArtefactError(f"{folder}: the manifest's config has no 'env'; export it again")
    try:
        return load_config(kind, trained)
    except ConfigError as error:
        raise ArtefactError(
            f"{folder}: the manifest's config is not one of this version ({error}); export it again"
        ) from error


def load_model(layer: str, folder: Path) -> LayerModel[Any]:
    """A layer's artefact, verified against this version's columns and run once.

    Raises:
        ArtefactError: whatever is wrong with it.
    """
    return LayerModel(layer, folder, LAYERS[layer][1])


@dataclass
class _Staged:
    layer: str
    future: Future[LayerModel[Any]]


class Models:
    """The artefacts in use by layer, the ones before them, and those being loaded.

    Loading takes a tenth of a second, so it goes on in a thread of its own; the engine takes
    what is ready between two steps.

    Attributes:
        active: by layer; a layer without an artefact is absent.
    """

    def __init__(self, active: Mapping[str, LayerModel[Any]]) -> None:
        """Raises ArtefactError where artefacts do not fit each other, or none executes."""
        check_together(active)
        self.active = dict(active)
        self._before: dict[str, LayerModel[Any]] = {}
        self._staged: list[_Staged] = []
        self._loader: ThreadPoolExecutor | None = None

    def stage(self, layer: str, folder: Path) -> None:
        """Begin to load another artefact of a layer."""
        if layer not in self.active:
            known = ", ".join(self.active)
            raise ArtefactError(f"no layer '{layer}' runs in this cascade: expected one of {known}")
        if self._loader is None:
            self._loader = ThreadPoolExecutor(1, "artefacts")
        self._staged.append(_Staged(layer, self._loader.submit(load_model, layer, folder)))

    @property
    def staged(self) -> bool:
        """Whether something is being loaded, or ready to be taken."""
        return bool(self._staged)

    def ready(self) -> tuple[str, LayerModel[Any] | ArtefactError] | None:
        """A staged artefact that has loaded, or what is wrong with it; None where there is none."""
        if not self._staged or not self._staged[0].future.done():
            return None
        staged = self._staged.pop(0)
        try:
            model = staged.future.result()
            check_together({**self.active, staged.layer: model})
        except ArtefactError as error:
            return staged.layer, error
        return staged.layer, model

    def take(self, model: LayerModel[Any]) -> None:
        """Decide by `model` from now on; the one before it is kept for `rollback`."""
        self._before[model.layer] = self.active[model.layer]
        self.active[model.layer] = model

    def rollback(self, layer: str) -> LayerModel[Any]:
        """The artefact that `layer` decided by before the present one; `take` it to return.

        Raises:
            ArtefactError: there is none.
        """
        if layer not in self._before:
            raise ArtefactError(
                f"layer '{layer}' has had one artefact since this cascade began: there is none to "
                "go back to"
            )
        return self._before[layer]

    def close(self) -> None:
        """End the loading thread."""
        if self._loader is not None:
            self._loader.shutdown(wait=True, cancel_futures=True)


def check_together(active: Mapping[str, LayerModel[Any]]) -> None:
    """Raise ArtefactError where the artefacts cannot run under each other."""
    execution = active.get(EXECUTION.layer)
    if execution is None:
        raise ArtefactError(
            "no artefact of the execution layer: nothing could work an order; train one "
            "(`grandmodel train execution`) or name it"
        )
    if not {STRATEGIC.layer, TACTICAL.layer} & set(active):
        raise ArtefactError(
            "neither a strategic nor a tactical artefact: nothing would decide what to hold; train "
            "one (`grandmodel train tactical`) or name it"
        )
    ticks = {layer: model.config.market.tick for layer, model in active.items()}
    if len(set(ticks.values())) > 1:
        raise ArtefactError(f"artefacts of different ticks {ticks}: expected one instrument's")
    strategic, tactical = active.get(STRATEGIC.layer), active.get(TACTICAL.layer)
    if strategic is not None and tactical is not None:
        above, below = bar_minutes(strategic), bar_minutes(tactical)
        if above % below:
            raise ArtefactError(
                f"strategic bars of {above:g} min and tactical ones of {below:g}: expected a whole "
                "multiple"
            )


def bar_minutes(model: LayerModel[Any]) -> float:
    """The length of a layer's bars."""
    config: LayerConfig = model.config
    return config.bar_minutes

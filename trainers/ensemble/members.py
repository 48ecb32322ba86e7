"""The runs and checkpoints that an ensemble is made of: found, and proven to go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cascade.artefact import MANIFEST_FILE, load_artefact
from configs.errors import ConfigError, TrainingError
from policies.ensemble import LayerPolicy, averaged_weights, differing_architecture, mixture
from policies.sequential import SequentialPolicy
from trainers.compare import Contender, check_environments, contender, names
from trainers.ensemble.selection import Counts
from trainers.explain import policy_of, run_of
from trainers.layers import LAYERS
from trainers.mappo.checkpoint import holds_actors, latest_checkpoint
from trainers.runs import ARTEFACT_FOLDER

COMMAND = "ensemble"
By = Literal["weights", "probabilities"]


@dataclass(frozen=True)
class Member:
    """One policy and the run that it comes from. checkpoint: that its weights are of."""

    name: str
    run: Contender
    checkpoint: Path
    policy: LayerPolicy


def find_members(layer: str, places: Sequence[Path], cache: Path) -> list[Member]:
    """The policies in the folders of runs, of their artefacts, or of checkpoints.

    cache: where artefacts of layers above are downloaded to.

    Raises:
        ConfigError: fewer than two, one named twice, or they are not of `layer` or not of one
            environment.
        TrainingError: no run with weights there, or it has no artefact yet.
        ArtefactError: its artefact is damaged, or of other columns than this version computes.
    """
    if len(places) < 2:
        raise ConfigError(f"ensemble: got {len(places)} run, expected two or more")
    found = []
    for number, (place, name) in enumerate(zip(places, names(places, COMMAND), strict=True)):
        run = place.parent.parent if holds_actors(place) else run_of(place)
        told = contender(run, name, cache / str(number))
        if told.config.layer != layer:
            raise ConfigError(
                f"ensemble {layer}: {place} is of the layer {told.config.layer}; expected runs of "
                "one layer, the one that is named"
            )
        if not holds_actors(place):
            _check_artefact(run, layer)
        checkpoint = place if holds_actors(place) else latest_checkpoint(run)
        assert checkpoint is not None  # `run_of` found one
        found.append(Member(name, told, checkpoint, policy_of(checkpoint)))
    check_environments([member.run for member in found], COMMAND)
    return found


def _check_artefact(run: Path, layer: str) -> None:
    folder = run / ARTEFACT_FOLDER
    if not (folder / MANIFEST_FILE).is_file():
        raise TrainingError(
            f"{run}: the run has no artefact ({folder} is missing), so that its training has not "
            f"ended; go on with it first (grandmodel train {layer} --resume --output {run}), or "
            "name a checkpoint of it (.../checkpoints/iteration-...)"
        )
    load_artefact(folder, LAYERS[layer].layout)


def check_alike(members: Sequence[Member]) -> None:
    """Refuse members whose weights cannot be averaged.

    Raises:
        ConfigError: a member is an ensemble itself, or of another architecture than the first.
    """
    first = members[0]
    for member in members:
        if not isinstance(member.policy, SequentialPolicy):
            raise ConfigError(
                f"ensemble --by weights: {member.name} is itself an average of probabilities, of "
                "networks with weights of their own; expected single ones, or --by probabilities"
            )
        assert isinstance(first.policy, SequentialPolicy)  # it was the first to be looked at
        differing = differing_architecture(first.policy, member.policy)
        if differing:
            raise ConfigError(
                f"ensemble --by weights: {member.name} is of another architecture than "
                f"{first.name}: {', '.join(differing)}; weights are averaged of networks alike; "
                "use --by probabilities"
            )


def combined(members: Sequence[Member], counts: Counts, by: By) -> LayerPolicy:
    """The ensemble of members that count at all; a single one is itself."""
    chosen = [(m.policy, count) for m, count in zip(members, counts, strict=True) if count]
    policies, told = [policy for policy, _ in chosen], [count for _, count in chosen]
    if len(policies) == 1 or by == "probabilities":
        return mixture(policies, told)
    single = [policy for policy in policies if isinstance(policy, SequentialPolicy)]
    return averaged_weights(single, told)

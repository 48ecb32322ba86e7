"""What trainers and exporters see of an actor: it acts, and it judges what was acted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from configs.errors import TrainingError
from policies.inputs import Inputs


class Acted(NamedTuple):
    """One joint decision per row.

    latent: [B, action_width], what `evaluate` takes back: logits of squashed
        Gaussians, numbers of unbounded ones and of Betas, indices of categorical choices.
    actions: [B, action_width], bounded ones in [0, 1], the others as they are.
    log_prob: [B, agents], of the latent; supervised components carry none.
    memory: [B, memory_width], for the next step; None where nothing is remembered.
    """

    latent: Tensor
    actions: Tensor
    log_prob: Tensor
    memory: Tensor | None = None


class Evaluated(NamedTuple):
    """What a recorded decision is worth under the present weights.

    log_prob, entropy: [..., agents]. supervised: [..., supervised components] in [0, 1].
    auxiliary: what the actor's networks learn beside its decisions, by name: losses, already
        weighted, [rows] each, of all rows or of some; None for nothing.
    """

    log_prob: Tensor
    entropy: Tensor
    supervised: Tensor
    auxiliary: dict[str, Tensor] | None = None


class Actor(nn.Module, ABC):
    """One actor for all agents of a group or layer.

    memory_width: numbers that it carries from step to step per environment, 0
    without memory. mask_width: flags in a row of masks, 0 where none are taken.
    supervised: components that are learnt by regression. inputs: how rows are read; not
    there where an actor of others' has a way of its own.
    """

    inputs: Inputs  # no default, which would hide the module of that name
    memory_width: int = 0
    mask_width: int = 0
    supervised: int = 0

    @abstractmethod
    def act(
        self,
        rows: Tensor,
        noise: Tensor | None,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Acted:
        """Decide for rows [B, row_width].

        noise: [B, noise_width] (signals.noise) samples, None takes the mode.
        masks: bool [B, mask_width], True where allowed, at least one choice of
            each factor; None allows all.
        memory: [B, memory_width] that the step before gave; None at an episode's begin.
        """

    @abstractmethod
    def evaluate(
        self,
        rows: Tensor,
        latent: Tensor,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Evaluated:
        """Log-probabilities and entropies of decisions taken earlier.

        Without memory: rows [B, row_width], latent [B, action_width] as `act` gave
        it, masks [B, mask_width]. With memory the same behind a leading [L] of
        steps; memory [B, memory_width] is what was carried into the first (None
        for zeros), and begins, bool [L, B], says before which rows it is zeroed.
        """

    def _check(
        self, masks: Tensor | None, memory: Tensor | None, begins: Tensor | None = None
    ) -> None:
        """Refuse what this actor cannot read; tensors of no columns say nothing and pass."""
        who = type(self).__name__
        if masks is not None and masks.shape[-1] != self.mask_width:
            raise TrainingError(
                f"{who}: got masks of {masks.shape[-1]} flags a row, expected {self.mask_width}; "
                "pass the masks of this actor's own group, or None"
            )
        if memory is not None and memory.shape[-1] != self.memory_width:
            raise TrainingError(
                f"{who}: got a memory of {memory.shape[-1]} numbers a row, expected "
                f"{self.memory_width}; pass what this actor's act() returned, or None"
            )
        if begins is not None and not self.memory_width:
            raise TrainingError(
                f"{who}: got begins, expected None: this actor has no memory that an episode's "
                "begin could clear"
            )

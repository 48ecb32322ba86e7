"""Actors of any team: the networks of a group, what they remember and how they draw."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from configs.base import Config
from configs.encoders import EncoderConfig

Activation = Literal["tanh", "relu"]
Memory = Literal["none", "gru", "lstm"]
Bounded = Literal["squashed", "beta"]
InputNorm = Literal["none", "running"]


class MaskConfig(Config):
    """Monte Carlo dropout through a bank of masks that never changes (Gal and Ghahramani, 2016).

    rate: share of hidden units that a mask leaves out; 0 is no dropout.
    layers: hidden layers that are masked, counted from the head down; what lies below them
        is computed once for all samples. More than there are is all.
    samples: masks in the bank, all of which an uncertainty is taken over. seed: of the bank.
    """

    rate: float = Field(default=0.0, ge=0, lt=1)
    layers: PositiveInt = 1
    samples: int = Field(default=1_000, ge=2)
    seed: NonNegativeInt = 0


class DropoutConfig(MaskConfig):
    """Of an actor, which acts and is judged without masks: PPO's ratios stay what they are.

    coefficient: of the divergence between what it decides without a mask and with one.
    """

    coefficient: NonNegativeFloat = 1.0


class CommunicationConfig(Config):
    """Messages between the agents of a layer, by attention over what each reads of its row.

    rounds: of messages; 0 is none. width: numbers of a message. hears: whom an agent reads:
        those before it in the order of acting, or all others.
    memory: whether each also reads a slot that gathers what all those wrote.
    """

    rounds: NonNegativeInt = 0
    width: PositiveInt = 16
    hears: Literal["earlier", "all"] = "earlier"
    memory: bool = True


class ActorConfig(Config):
    """A group's actor: hidden layers, a cell that remembers where one is wanted, one head.

    hidden: sizes of the layers below the cell and the head.
    memory, memory_width: the recurrent cell above the hidden layers, and the numbers
        of its output per agent (an LSTM carries twice as many).
    bounded: how numbers in [0, 1] are drawn. "squashed" is Gaussian in logit space,
        sigma a standard deviation of logits. "beta" has one mode inside (0, 1) and
        no sigma: its spread is an output of the network.
    state_dependent_sigma, initial_sigma, min_sigma, max_sigma: of Gaussians.
    identity: agents that share weights also read their own number, one-hot. False
        by default: the weights then do not depend on how many agents there are, and
        agents that see the same decide alike. A team whose roles are told by
        nothing that its agents observe needs it.
    network: a registered policy (entry points grandmodel.policies) or "module:function" in
        place of the built-in network: function(layout, config, sharing, seed) -> Actor.
    input_norm, input_clip: "running" reads every column of a row in standard deviations from
        its mean over all rows trained on; "none" as it is. What is read is clipped.
    layer_norm: normalises every hidden layer's activations over its units.

    Of actors that decide in sequence alone:
    encoders: one for each window of the layout, in its order; none leaves all windows flat.
    conditioned: whether an agent reads what those before it chose in the same step, where its
        layout lets it; without, all decide at once.
    states: basis states that categorical heads superpose; 1 is a plain head.
    initial_temperature: of categorical agents by name, 1 where one is not named: an untrained
        agent's probabilities are the layout's initial ones to the power of one over it. Above 1
        it tries more at first.
    communication, dropout: see there.
    """

    hidden: tuple[PositiveInt, ...] = Field(default=(256, 256), min_length=1)
    activation: Activation = "tanh"
    memory: Memory = "none"
    memory_width: PositiveInt = 64
    bounded: Bounded = "squashed"
    state_dependent_sigma: bool = False
    initial_sigma: PositiveFloat = 1.0
    min_sigma: PositiveFloat = 0.02
    max_sigma: PositiveFloat = 3.0
    output_gain: PositiveFloat = 0.01
    input_norm: InputNorm = "none"
    input_clip: PositiveFloat = 10.0
    identity: bool = False
    layer_norm: bool = False
    network: str | None = None
    encoders: tuple[EncoderConfig, ...] = ()
    conditioned: bool = True
    states: PositiveInt = 1
    initial_temperature: dict[str, PositiveFloat] = Field(default_factory=dict)
    communication: CommunicationConfig = CommunicationConfig()
    dropout: DropoutConfig = DropoutConfig()

    @model_validator(mode="after")
    def _sigma_lies_between_its_bounds(self) -> Self:
        if not self.min_sigma < self.initial_sigma < self.max_sigma:
            raise ValueError(
                f"initial_sigma={self.initial_sigma}: expected min_sigma={self.min_sigma} < "
                f"initial_sigma < max_sigma={self.max_sigma}"
            )
        return self

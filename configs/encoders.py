"""Encoders of windows of bars: one model for each kind, picked by `kind`.

Sizes are small on purpose: minibatches hold thousands of windows, and two cores must do.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from configs.base import Config


class FlatConfig(Config):
    """No encoder: the window's columns go into each agent's first layer as they are."""

    kind: Literal["flat"] = "flat"


class AveragesConfig(Config):
    """Means over the newest bars, of several spans, with nothing to learn (Corsi, "A Simple
    Approximate Long-Memory Model of Realized Volatility", 2009).

    Where there is much noise and little to foresee, a layer that reads every bar of a window
    learns the noise.

    spans: bars of each mean; none longer than the window.
    """

    kind: Literal["averages"] = "averages"
    spans: tuple[PositiveInt, ...] = Field(default=(4, 16, 48), min_length=1)


class StructureConfig(Config):
    """Convolutions over bars, an LSTM over what they give, attention pooling over its steps.

    channels: of each convolution. kernel: bars that one spans. strides: one convolution
        each; their product is how many bars become one step of the LSTM.
    memory: units of the LSTM. width: numbers of the embedding.
    """

    kind: Literal["structure"] = "structure"
    channels: PositiveInt = 16
    kernel: PositiveInt = 5
    strides: tuple[PositiveInt, ...] = Field(default=(4, 2), min_length=1)
    memory: PositiveInt = 32
    width: PositiveInt = 32

    @model_validator(mode="after")
    def _no_bar_is_skipped(self) -> Self:
        if self.kernel < max(self.strides):
            raise ValueError(
                f"kernel={self.kernel} with strides={list(self.strides)}: expected a kernel no "
                "shorter than any stride, so that no bar is skipped"
            )
        return self


class _AttentionConfig(Config):
    """Self-attention over patches of bars (Nie et al., "A Time Series is Worth 64 Words", 2023).

    patch: bars that become one token; the window's rows must divide by it.
    model: numbers of a token. heads: of attention, which share them.
    layers: blocks of attention and feed-forward. feed_forward: hidden units of the latter.
    width: numbers of the embedding.
    """

    patch: PositiveInt = 6
    model: PositiveInt = 32
    heads: PositiveInt = 4
    layers: PositiveInt = 1
    feed_forward: PositiveInt = 64
    width: PositiveInt = 32

    @model_validator(mode="after")
    def _heads_share_the_model(self) -> Self:
        if self.model % (2 * self.heads):
            raise ValueError(
                f"model={self.model} with heads={self.heads}: expected a multiple of twice the "
                "heads, which share its numbers evenly"
            )
        return self


class RegimeConfig(_AttentionConfig):
    """A Transformer with learned positions and a head that foretells the next bar's regimes.

    coefficient: of the head's cross-entropy against the posterior of the newest bar, which
        it is shown the window without; 0 leaves it to the policy's gradient alone.
    share: of each minibatch on which that is learnt, for it takes a forward of its own.
    """

    kind: Literal["regime"] = "regime"
    patch: PositiveInt = 8
    coefficient: NonNegativeFloat = 0.1
    share: float = Field(default=0.125, gt=0, le=1)


class WindowAttentionConfig(_AttentionConfig):
    """Self-attention with fixed sine positions (Vaswani et al., 2017), pooled by attention."""

    kind: Literal["attention"] = "attention"


EncoderConfig = Annotated[
    FlatConfig | AveragesConfig | StructureConfig | RegimeConfig | WindowAttentionConfig,
    Field(discriminator="kind"),
]

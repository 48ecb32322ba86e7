"""Encoders of windows of bars: [N, rows, columns] -> [N, width], every row of a batch for itself.

What they give lies in [-1, 1], as the columns of a row do. No forward branches on data, and
all are deterministic, so that each exports as it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.encoders import (
    AveragesConfig,
    EncoderConfig,
    RegimeConfig,
    StructureConfig,
    WindowAttentionConfig,
)
from configs.errors import TrainingError
from policies.networks import linear, orthogonal
from signals.bars.columns import POSTERIORS

_RELU_GAIN = math.sqrt(2.0)
_POSITION_SCALE = 0.02  # of learned positions at the start, as in ViT and BERT
_LSTM_GATES = 4  # in, forget, new, out: torch's order
_WAVELENGTH = 10_000.0  # the longest of the sine positions, Vaswani et al. (2017), section 3.5


class Encoder(nn.Module, ABC):
    """width: numbers of the embedding. bars_per_step: that each step brings, the last the newest;
    the first step has what is left over."""

    width: int
    bars_per_step: int

    @abstractmethod
    def forward(self, bars: Tensor) -> Tensor:
        """Bars [N, rows, columns], oldest first -> [N, width]."""

    @abstractmethod
    def attention(self, bars: Tensor) -> Tensor:
        """The share [N, steps] of each step in the pooled embedding, oldest first; sums to 1."""

    def self_attention(self, bars: Tensor) -> list[Tensor]:
        """Of each block, what share [N, heads, steps, steps] of step j goes into step i.

        Rows i sum to 1; [] where steps do not attend to each other.
        """
        del bars
        return []

    def losses(self, bars: Tensor) -> dict[str, Tensor]:
        """What it learns beside the policy, each weighted, of one number per row; {} for none."""
        del bars
        return {}


class AttentionPool(nn.Module):
    """The mean of steps [N, steps, width], weighted by a learned query (Bahdanau et al., 2015)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.key = linear(width, width, 1.0, generator)
        self.query = nn.Parameter(orthogonal(1, width, 1.0, generator).squeeze(0))

    def weights(self, steps: Tensor) -> Tensor:
        """[N, steps], which sum to 1."""
        scores = torch.tanh(self.key(steps)) @ self.query
        return torch.softmax(scores, dim=1)

    def forward(self, steps: Tensor) -> Tensor:
        return torch.matmul(self.weights(steps).unsqueeze(1), steps).squeeze(1)


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a feed-forward layer, normalised first (Xiong et al., 2020)."""

    def __init__(self, model: int, heads: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(model)
        self.read = linear(model, 3 * model, 1.0, generator)
        self.write = linear(model, model, 1.0, generator)
        self.before_hidden = nn.LayerNorm(model)
        self.hidden = linear(model, hidden, _RELU_GAIN, generator)
        self.back = linear(hidden, model, 1.0, generator)

    def _parts(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values, [3, N, heads, tokens, numbers]."""
        read = self.read(self.before_attention(tokens))
        parts: Tensor = read.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts

    def shares(self, tokens: Tensor) -> Tensor:
        """What `forward` attends to: [N, heads, tokens, tokens], rows sum to 1."""
        query, key, _ = self._parts(tokens)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        return torch.softmax(scores, dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self._parts(tokens)
        heard = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        tokens = tokens + self.write(heard.transpose(1, 2).flatten(2))
        back: Tensor = self.back(torch.relu(self.hidden(self.before_hidden(tokens))))
        return tokens + back


class Averages(Encoder):
    """Means of every column over the newest bars; a step is a bar."""

    weights: Tensor

    def __init__(self, config: AveragesConfig, rows: int, columns: tuple[str, ...]) -> None:
        super().__init__()
        if max(config.spans) > rows:
            raise TrainingError(
                f"encoders kind=averages with spans={list(config.spans)}: the window has {rows} "
                "bars, expected no longer span; leave out those that are"
            )
        self.width, self.bars_per_step = len(config.spans) * len(columns), 1
        weights = torch.zeros(len(config.spans), rows)
        for mean, span in zip(weights, config.spans, strict=True):
            mean[-span:] = 1.0 / span
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, bars: Tensor) -> Tensor:
        return torch.matmul(self.weights, bars).flatten(1)

    def attention(self, bars: Tensor) -> Tensor:
        return self.weights.mean(0).expand(len(bars), -1)


class StructureEncoder(Encoder):
    """Convolutions, an LSTM over their steps, attention pooling over its outputs."""

    def __init__(
        self, config: StructureConfig, columns: tuple[str, ...], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.width, self.bars_per_step = config.width, math.prod(config.strides)
        inputs, weights = len(columns), []
        for _ in config.strides:
            flat = orthogonal(config.channels, inputs * config.kernel, _RELU_GAIN, generator)
            weights.append(nn.Parameter(flat.unflatten(1, (inputs, config.kernel))))
            inputs = config.channels
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(
            [nn.Parameter(torch.zeros(config.channels)) for _ in config.strides]
        )
        self.lstm = _lstm(config.channels, config.memory, generator)
        self.pool = AttentionPool(config.memory, generator)
        self.out = linear(config.memory, config.width, 1.0, generator)

    def _steps(self, bars: Tensor) -> Tensor:
        values = bars.transpose(1, 2)
        for weight, bias, stride in zip(
            self.weights, self.biases, self.config.strides, strict=True
        ):
            # Padded in front alone, so that the newest bar is the last of the last step.
            values = functional.pad(values, (self.config.kernel - 1, 0))
            skipped = (values.shape[-1] - self.config.kernel) % stride
            values = functional.conv1d(values[..., skipped:], weight, bias, stride=stride)
            values = torch.relu(values)
        steps: Tensor = self.lstm(values.transpose(1, 2))[0]
        return steps

    def forward(self, bars: Tensor) -> Tensor:
        return torch.tanh(self.out(self.pool(self._steps(bars))))

    def attention(self, bars: Tensor) -> Tensor:
        weights: Tensor = self.pool.weights(self._steps(bars))
        return weights


def _lstm(inputs: int, units: int, generator: torch.Generator) -> nn.LSTM:
    """torch's LSTM with orthogonal blocks and open forget gates (as `policies.stacked`)."""
    with torch.random.fork_rng(devices=[]):  # its constructor draws from torch's own generator
        lstm = nn.LSTM(inputs, units, batch_first=True)
    forget = torch.zeros(_LSTM_GATES * units)
    forget[units : 2 * units] = 1.0
    start = {"bias_ih_l0": forget, "bias_hh_l0": torch.zeros(_LSTM_GATES * units)}
    for name, width in (("weight_ih_l0", inputs), ("weight_hh_l0", units)):
        blocks = [orthogonal(units, width, 1.0, generator) for _ in range(_LSTM_GATES)]
        start[name] = torch.cat(blocks)
    lstm.load_state_dict(start)
    return lstm


class _PatchAttention(Encoder):
    """Patches of bars as tokens, positions, blocks, attention pooling."""

    positions: Tensor

    def __init__(
        self,
        config: RegimeConfig | WindowAttentionConfig,
        rows: int,
        columns: tuple[str, ...],
        positions: Callable[[int, int, torch.Generator], Tensor],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if rows % config.patch:
            raise TrainingError(
                f"encoders kind={config.kind} patch={config.patch}: expected a divisor of "
                f"the window's {rows} rows"
            )
        self.config = config
        self.width, self.bars_per_step = config.width, config.patch
        self.embed = linear(config.patch * len(columns), config.model, 1.0, generator)
        self._place(positions(rows // config.patch, config.model, generator))
        self.blocks = nn.ModuleList(
            TransformerBlock(config.model, config.heads, config.feed_forward, generator)
            for _ in range(config.layers)
        )
        self.last_norm = nn.LayerNorm(config.model)
        self.pool = AttentionPool(config.model, generator)
        self.out = linear(config.model, config.width, 1.0, generator)

    @abstractmethod
    def _place(self, positions: Tensor) -> None:
        """Keep `positions` [tokens, model] as `self.positions`."""

    def _embedded(self, bars: Tensor) -> Tensor:
        patches = bars.unflatten(1, (-1, self.config.patch)).flatten(2)
        tokens: Tensor = self.embed(patches) + self.positions
        return tokens

    def _tokens(self, bars: Tensor) -> Tensor:
        tokens = self._embedded(bars)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.last_norm(tokens)
        return normed

    def self_attention(self, bars: Tensor) -> list[Tensor]:
        tokens, found = self._embedded(bars), []
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)  # for the type alone
            found.append(block.shares(tokens))
            tokens = block(tokens)
        return found

    def attention(self, bars: Tensor) -> Tensor:
        weights: Tensor = self.pool.weights(self._tokens(bars))
        return weights


class WindowAttention(_PatchAttention):
    """Self-attention with fixed sine positions."""

    def __init__(
        self,
        config: WindowAttentionConfig,
        rows: int,
        columns: tuple[str, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(config, rows, columns, _sine_positions, generator)

    def _place(self, positions: Tensor) -> None:
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, bars: Tensor) -> Tensor:
        return torch.tanh(self.out(self.pool(self._tokens(bars))))


class RegimeEncoder(_PatchAttention):
    """A Transformer with learned positions; its head foretells the regimes of the bar to come.

    The embedding is `config.width` numbers, then the head's probabilities and the largest
    of them, its confidence. The head learns from the newest bar's filtered posterior, given
    the window without that bar (its first bar told twice in its place, so that the bar to be
    foretold always follows the last token).
    """

    posterior: Tensor

    def __init__(
        self,
        config: RegimeConfig,
        rows: int,
        columns: tuple[str, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(config, rows, columns, _learned_positions, generator)
        places = [_place_of(posterior.name, columns) for posterior in POSTERIORS]
        self.register_buffer("posterior", torch.tensor(places), persistent=False)
        self.coefficient, self.share = config.coefficient, config.share
        self.head = linear(config.model, len(places), 1.0, generator)
        self.embedding = config.width  # numbers before what the head says
        self.width = config.width + len(places) + 1

    def _place(self, positions: Tensor) -> None:
        self.positions = nn.Parameter(positions)

    def forward(self, bars: Tensor) -> Tensor:
        pooled = self.pool(self._tokens(bars))
        chances = torch.softmax(self.head(pooled), dim=-1)
        confidence = chances.amax(-1, keepdim=True)
        return torch.cat([torch.tanh(self.out(pooled)), chances, confidence], dim=-1)

    def regimes(self, bars: Tensor) -> Tensor:
        """Logits [N, regimes] of the bar that follows `bars`, for calibration."""
        logits: Tensor = self.head(self.pool(self._tokens(bars)))
        return logits

    def losses(self, bars: Tensor) -> dict[str, Tensor]:
        if self.coefficient == 0.0:
            return {}
        some = bars[: math.ceil(self.share * len(bars))]
        known = torch.cat([some[:, :1], some[:, :-1]], dim=1)
        target = some[:, -1, self.posterior].detach().clamp(min=0.0)
        target = target / target.sum(-1, keepdim=True).clamp(min=torch.finfo(target.dtype).tiny)
        log_p = functional.log_softmax(self.regimes(known).float(), dim=-1)
        return {"regime_loss": -self.coefficient * (target * log_p).sum(-1)}


def _place_of(name: str, columns: tuple[str, ...]) -> int:
    found = [k for k, column in enumerate(columns) if column.rpartition(".")[2] == name]
    if len(found) != 1:
        raise TrainingError(
            f"encoders kind=regime: its window has the columns {', '.join(columns)}, "
            f"expected one named {name}; choose kind attention for other windows"
        )
    return found[0]


def _learned_positions(tokens: int, model: int, generator: torch.Generator) -> Tensor:
    return _POSITION_SCALE * torch.randn(tokens, model, generator=generator)


def _sine_positions(tokens: int, model: int, generator: torch.Generator) -> Tensor:
    """sin and cos of the place at wavelengths from 2 pi to 10,000 x 2 pi, in turns."""
    del generator
    place = torch.arange(tokens, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, model, 2) * (-math.log(_WAVELENGTH) / model))
    return torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=-1).flatten(1)


def build_encoder(
    config: EncoderConfig, rows: int, columns: tuple[str, ...], generator: torch.Generator
) -> Encoder:
    """The encoder of `config` for windows of `rows` bars of the named `columns`.

    Raises:
        TrainingError: the window does not fit it.
    """
    if isinstance(config, AveragesConfig):
        return Averages(config, rows, columns)
    if isinstance(config, StructureConfig):
        return StructureEncoder(config, columns, generator)
    if isinstance(config, RegimeConfig):
        return RegimeEncoder(config, rows, columns, generator)
    if isinstance(config, WindowAttentionConfig):
        return WindowAttention(config, rows, columns, generator)
    raise TrainingError("encoders kind=flat encodes nothing; the reader leaves it out")

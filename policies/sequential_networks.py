"""The networks of a team that acts in order: from rows and earlier choices to heads' outputs.

All networks share one masked first layer (Germain et al., "MADE", 2015): an agent's weights
on columns it does not observe and on choices not yet made are held at zero. So a joint
decision takes one product with the row, and training, where all choices are known, is
parallel over agents.

The 'chosen' flags of `upstream` are the same in every decision of an agent; its bias stands
for them.

What may stand before, between and behind these networks is chosen in the config: encoders
of windows (policies.reader), messages (policies.communication), heads that superpose
(policies.superposition), and masks by which a decision's uncertainty is sampled
(policies.dropout). What outputs mean, and what is decided by them, is `policies.sequential`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from configs.actors import ActorConfig
from policies.actor import Actor
from policies.communication import Messages
from policies.distributions import raw_sigma_of
from policies.dropout import MaskBank, masked
from policies.heads import HeadTable, LegalChoices
from policies.inputs import Inputs
from policies.networks import activate, activation_gain, orthogonal
from policies.reader import RowReader
from policies.superposition import SuperpositionLayer
from signals.layout import LayerLayout


class SequentialNetworks(Actor):
    """The part of `policies.sequential.SequentialPolicy` that holds weights."""

    row_mask: Tensor
    choice_mask: Tensor
    choosers: Tensor
    flag_places: Tensor

    def __init__(self, layout: LayerLayout, config: ActorConfig, seed: int = 0) -> None:
        super().__init__()
        self.layout = layout
        self.config = config
        self.table = HeadTable(layout, config.state_dependent_sigma)
        self.mask_width = self.table.mask_width
        self.supervised = self.table.supervised
        self.inputs = Inputs(range(layout.row_width), config.input_norm, config.input_clip)
        generator = torch.Generator().manual_seed(seed)
        self.reader = RowReader(layout, config.encoders, generator)
        self._build_first_layer(generator)
        self._build_deeper_layers(generator)
        self._build_options(generator)
        self.legal = LegalChoices(layout, self.table)

    @property
    def agents(self) -> int:
        return len(self.layout.agents)

    def _build_first_layer(self, generator: torch.Generator) -> None:
        layout, width = self.layout, self.config.hidden[0]
        gain = activation_gain(self.config.activation)
        choices = self.table.choice_width
        row_mask = torch.zeros(self.reader.width, self.agents, width)
        choice_mask = torch.zeros(choices, self.agents, width)
        row_weight, choice_weight = torch.zeros_like(row_mask), torch.zeros_like(choice_mask)
        for k in range(self.agents):
            seen = torch.from_numpy(self.reader.seen(k))
            follows = self.config.conditioned and layout.agents[k].follows
            before = layout.noise_slice(k).start if follows else 0
            weight = orthogonal(len(seen) + before, width, gain, generator)
            row_mask[seen, k] = 1.0
            choice_mask[:before, k] = 1.0
            row_weight[seen, k] = weight[: len(seen)]
            choice_weight[:before, k] = weight[len(seen) :]
        # Masks follow from the layout, so no state dict carries them.
        self.register_buffer("row_mask", row_mask.flatten(1), persistent=False)
        self.register_buffer("choice_mask", choice_mask.flatten(1), persistent=False)
        self.row_weight = nn.Parameter(row_weight.flatten(1))
        self.choice_weight = nn.Parameter(choice_weight.flatten(1))
        self.first_bias = nn.Parameter(torch.zeros(self.agents * width))

    def _build_deeper_layers(self, generator: torch.Generator) -> None:
        hidden = self.config.hidden
        gain = activation_gain(self.config.activation)

        def stack(rows: int, columns: int, scale: float) -> nn.Parameter:
            blocks = [orthogonal(rows, columns, scale, generator) for _ in range(self.agents)]
            return nn.Parameter(torch.stack(blocks))

        pairs = list(pairwise(hidden))
        self.weights = nn.ParameterList([stack(a, b, gain) for a, b in pairs])
        self.biases = nn.ParameterList(
            [nn.Parameter(torch.zeros(self.agents, 1, b)) for _, b in pairs]
        )
        outputs = self.table.outputs
        self.head_weight = stack(hidden[-1], outputs, self.config.output_gain)
        config = self.config
        self.head_bias = nn.Parameter(self.table.initial_bias(config.initial_temperature))
        raw = raw_sigma_of(config.initial_sigma, config.min_sigma, config.max_sigma)
        self.raw_sigma = nn.Parameter(torch.full((self.table.gaussians,), raw))

    def _build_options(self, generator: torch.Generator) -> None:
        """What the config adds: messages, superposed heads, a bank of masks; None where not."""
        config, hidden = self.config, self.config.hidden
        self.messages: Messages | None = None
        self.superposition: SuperpositionLayer | None = None
        self.bank: MaskBank | None = None
        if config.communication.rounds:
            self.messages = Messages(self.agents, hidden[0], config.communication, generator)
        choosers = list(self.table.mask_slices)
        if config.states > 1 and choosers:
            self.superposition = SuperpositionLayer(
                hidden[-1],
                [self.layout.agents[k].encoded_width for k in choosers],
                config.states,
                self.table.initial_bias(config.initial_temperature)[choosers],
                config.output_gain,
                generator,
            )
        if config.dropout.rate:
            self.bank = MaskBank([(self.agents, width) for width in hidden], config.dropout)
        self.register_buffer("flag_places", self._flag_places(), persistent=False)
        self.register_buffer("choosers", torch.tensor(choosers, dtype=torch.long), persistent=False)

    def _flag_places(self) -> Tensor:
        """Of each agent's outputs, where its flag stands in (masks, always, never)."""
        always, never = self.mask_width, self.mask_width + 1
        places = torch.full((self.agents, self.table.outputs), always)
        for k, columns in self.table.mask_slices.items():
            width = columns.stop - columns.start
            places[k] = never
            places[k, :width] = torch.arange(columns.start, columns.stop)
        return places.flatten()

    def outputs_given(self, rows: Tensor, latent: Tensor) -> Tensor:
        """Heads' outputs [N, agents, outputs], each agent's on the recorded choices before it.

        rows [N, row_width]; latent [N, action_width] as `act` gave it. Logits or means, as they
        are before anything is forbidden.
        """
        outputs = self._outputs(self._first_given(rows, latent))
        by_agent: Tensor = outputs.unflatten(1, (self.agents, -1))
        return by_agent

    def _first_given(self, rows: Tensor, latent: Tensor) -> Tensor:
        """What every agent's first layer makes of rows and recorded choices."""
        chosen = self.table.encode(latent) @ (self.choice_weight * self.choice_mask)
        by_agent: Tensor = chosen.unflatten(1, (self.agents, -1))
        return self._from_row(rows) + by_agent

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """What every agent's first layer makes of rows and messages, [N, agents, hidden].

        And what the regime encoder expects of the next bar, [N, regimes], where there is one.
        """
        features = self.reader(self.inputs(rows))
        told = self.reader.regimes(features)
        # The largest of them, which it says last, is no more than they say themselves.
        return self._first(features), None if told is None else told[:, :-1]

    def _from_row(self, rows: Tensor) -> Tensor:
        return self._first(self.reader(self.inputs(rows)))

    def _first(self, features: Tensor) -> Tensor:
        """What every agent's first layer makes of the reader's features."""
        values = torch.addmm(self.first_bias, features, self.row_weight * self.row_mask)
        first: Tensor = values.unflatten(1, (self.agents, -1))
        if self.messages is not None:
            first = self.messages(first)
        return first

    def _above(self, values: Tensor, k: int, drop: Sequence[Tensor] = ()) -> Tensor:
        """Agent k's network above its first layer: activations [N, hidden] -> [N, outputs].

        drop: masks [samples, 1, hidden] of the last hidden layers; then [samples x N, outputs].
        """
        count, depth = values.shape[0], len(self.weights)
        for number in range(depth + 1):
            if number:
                weight, bias = self.weights[number - 1][k], self.biases[number - 1][k]
                values = activate(torch.addmm(bias, values, weight), self.config.activation)
            if depth - number < len(drop):
                samples = values.unflatten(0, (-1, count))
                values = masked(samples, drop, depth - number).flatten(0, 1)
        plain = torch.addmm(self.head_bias[k], values, self.head_weight[k])
        if self.superposition is None or k not in self.table.mask_slices:
            return plain
        number = list(self.table.mask_slices).index(k)
        logits: Tensor = self.superposition(values.unsqueeze(0), plain.unsqueeze(0), number)
        return logits.squeeze(0)

    def _outputs(self, first: Tensor, drop: Sequence[Tensor] = ()) -> Tensor:
        """All agents' networks above the first layer: [N, agents, hidden] -> [N, agents x outputs].

        drop: masks [N, agents, hidden] of the last hidden layers.
        """
        depth = len(self.weights)
        drop = [mask.transpose(0, 1) for mask in drop]
        values = activate(first, self.config.activation).transpose(0, 1)
        values = masked(values, drop, depth)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = activate(torch.baddbmm(bias, values, weight), self.config.activation)
            values = masked(values, drop, depth - 1 - number)
        outputs = torch.baddbmm(self.head_bias, values, self.head_weight)
        if self.superposition is not None:
            logits = self.superposition(values[self.choosers], outputs[self.choosers])
            outputs = outputs.index_copy(0, self.choosers, logits.to(outputs.dtype))
        return outputs.transpose(0, 1).flatten(1)

    def _penalty(self, masks: Tensor | None, like: Tensor) -> Tensor:
        """[N or 1, agents, outputs, 1] to add to outputs: the minimum for what is no choice."""
        if masks is None:
            masks = torch.ones(1, self.mask_width, dtype=torch.bool, device=like.device)
        always, never = torch.ones_like(masks[:, :1]), torch.zeros_like(masks[:, :1])
        flags = torch.cat([masks, always, never], dim=1)[:, self.flag_places]
        minimum = torch.finfo(like.dtype).min
        penalty = torch.zeros_like(flags, dtype=like.dtype).masked_fill(~flags, minimum)
        by_agent: Tensor = penalty.unflatten(1, (self.agents, -1))
        return by_agent.unsqueeze(-1)

    def _sampled(self, first: Tensor, bank: MaskBank, penalty: Tensor) -> Tensor:
        """Outputs [N, agents, outputs, samples] from the first layers' [agents, N, hidden]."""
        if bank.layers > 1 or self.superposition is not None:
            sampled = []
            for k, values in enumerate(first.unbind(0)):
                drop = [mask[:, k].unsqueeze(1) for mask in bank.all()]
                outputs = self._above(values, k, drop).unflatten(0, (-1, values.shape[0]))
                sampled.append(outputs.permute(1, 2, 0))
            return torch.stack(sampled, 1) + penalty
        values = first
        for weight, bias in zip(self.weights, self.biases, strict=True):
            values = activate(torch.baddbmm(bias, values, weight), self.config.activation)
        # (value x mask) @ weight = (value x weight) @ mask: few numbers times the bank itself.
        weighted = values.transpose(0, 1).unsqueeze(2) * self.head_weight.transpose(1, 2)
        (mask,) = bank.all()
        return weighted @ mask.permute(1, 2, 0) + (self.head_bias.transpose(1, 2) + penalty)

"""The sequential actor: a team that acts in order, each agent on what those before it chose.

The joint policy factorises along the agents' order, pi(a | s) = prod_k
pi_k(a_k | o_k, a_<k), as in the auto-regressive policies of Wen et al.,
"Multi-Agent Reinforcement Learning is a Sequence Modeling Problem" (2022),
with a network of its own per agent. All networks share one masked first layer
(Germain et al., "MADE", 2015): an agent's weights on columns it does not
observe and on choices not yet made are held at zero. So a joint decision
takes one product with the row, and training, where all choices are known, is
parallel over agents.

The 'chosen' flags of `upstream` are the same in every decision of an agent;
its bias stands for them.

What may stand before, between and behind these networks is chosen in the config: encoders
of windows (policies.reader), messages (policies.communication), heads that superpose
(policies.superposition), and masks by which a decision's uncertainty is sampled
(policies.dropout). `act` with noise None is the deterministic forward that exports, and so
is `uncertainty`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.actors import ActorConfig
from configs.errors import TrainingError
from policies.actor import Acted, Actor, Evaluated
from policies.communication import Messages
from policies.distributions import (
    forbid,
    gaussian_entropy,
    gaussian_log_density,
    log_sigma_between,
    raw_sigma_of,
)
from policies.dropout import (
    MaskBank,
    Uncertainty,
    categorical_uncertainty,
    gaussian_uncertainty,
    masked,
)
from policies.heads import HeadTable, LegalChoices
from policies.inputs import Inputs
from policies.networks import activate, activation_gain, orthogonal
from policies.reader import RowReader
from policies.superposition import SuperpositionLayer
from signals.layout import LayerLayout


class SequentialPolicy(Actor):
    """One actor for a whole layer, over rows of `layout`.

    Rows are float32 [N, layout.row_width], already scaled to about [-1, 1];
    they are clipped at `config.input_clip`. Masks hold a flag for every choice of
    every discrete agent, in their order; where the layout names columns for them they are
    read off the rows. Nothing is remembered between steps.
    """

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
        self.head_bias = nn.Parameter(self.table.initial_bias())
        config = self.config
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
                self.table.initial_bias()[choosers],
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

    def _log_sigma(self, raw: Tensor) -> Tensor:
        return log_sigma_between(raw, self.config.min_sigma, self.config.max_sigma)

    def act(
        self,
        rows: Tensor,
        noise: Tensor | None,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Acted:
        """Decide, agent by agent, for rows [N, row_width].

        `noise` [N, noise_width] (signals.noise) samples; None takes the mode:
        sigmoid(mu) and argmax.
        """
        self._check(masks, memory)
        masks = self.legal(rows, masks)
        decided = self._decide_all(self._from_row(rows), noise, masks)
        latents, actions, log_probs = ([step[part] for step in decided] for part in (1, 2, 3))
        return Acted(torch.cat(latents, 1), torch.cat(actions, 1), torch.stack(log_probs, 1))

    def _decide_all(
        self, from_row: Tensor, noise: Tensor | None, masks: Tensor | None
    ) -> list[tuple[Tensor, ...]]:
        """Of each agent in turn (what its first layer gave, latent, action, log_prob).

        from_row: as `_from_row` gives it. masks: of all that is legal, the rows' own columns
        included.
        """
        up_weight = (self.choice_weight * self.choice_mask).unflatten(1, (self.agents, -1))
        choices: list[Tensor] = []
        steps: list[tuple[Tensor, ...]] = []
        for k in range(self.agents):
            first = from_row[:, k]
            if choices:
                seen = torch.cat(choices, dim=1)
                first = first + seen @ up_weight[: seen.shape[1], k]
            values = activate(first, self.config.activation)
            output = self._allowed(self._above(values, k), k, masks)
            eps = None if noise is None else noise[:, self.layout.noise_slice(k)]
            *decided, encoded = self._decide(k, output, eps)
            choices.append(encoded)
            steps.append((values, *decided))
        return steps

    def uncertainty(self, rows: Tensor, masks: Tensor | None = None) -> Uncertainty:
        """How far the bank's masks move each agent's decision; the decisions are the mode's.

        Rows are encoded once, whatever the number of samples. Deterministic: what is given
        for a row depends on the row and the bank alone. Takes samples x N rows of hidden
        units at once.

        Raises:
            TrainingError: this actor has no dropout.
        """
        if self.bank is None:
            raise TrainingError(
                "uncertainty of an actor without dropout: train it with policy.dropout.rate above 0"
            )
        self._check(masks, None)
        masks = self.legal(rows, masks)
        decided = self._decide_all(self._from_row(rows), None, masks)
        return self._uncertainty_of(decided, self.bank, masks)

    def _uncertainty_of(
        self, decided: Sequence[tuple[Tensor, ...]], bank: MaskBank, masks: Tensor | None
    ) -> Uncertainty:
        """The uncertainty of what `_decide_all` decided in mode."""
        first = torch.stack([values for values, *_ in decided])
        outputs = self._sampled(first, bank, self._penalty(masks, first))
        logits = outputs if len(self.choosers) == self.agents else outputs[:, self.choosers]
        choices = zip(*(part.unbind(1) for part in categorical_uncertainty(logits)), strict=True)
        found = []
        for k, agent in enumerate(self.layout.agents):
            width = agent.encoded_width
            if k in self.table.mask_slices:
                mean, spread, entropy, shared = next(choices)
            else:
                means = outputs[:, k, :width]
                raw = self.raw_sigma[self.table.gaussian_slice(k)].unsqueeze(1).expand_as(means)
                if self.config.state_dependent_sigma:
                    raw = raw + outputs[:, k, width : 2 * width]
                mean, spread, entropy, shared = gaussian_uncertainty(means, self._log_sigma(raw))
            found.append((mean[:, :width], spread[:, :width], entropy, shared))
        parts = list(zip(*found, strict=True))
        return Uncertainty(
            torch.cat(parts[0], 1),
            torch.cat(parts[1], 1),
            torch.stack(parts[2], 1),
            torch.stack(parts[3], 1),
        )

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

    def _from_row(self, rows: Tensor) -> Tensor:
        """What every agent's first layer makes of rows and messages, [N, agents, hidden]."""
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

    def _allowed(self, output: Tensor, k: int, masks: Tensor | None) -> Tensor:
        """Agent k's outputs, what `masks` [N, mask_width] forbid it at the minimum."""
        if masks is None or k not in self.table.mask_slices:
            return output
        logits = output[:, : self.layout.agents[k].encoded_width]
        return forbid(logits, masks[:, self.table.mask_slices[k]])

    def _decide(
        self, k: int, output: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(latent, action, log_prob, encoded choice) of agent k from its head's outputs."""
        agent = self.layout.agents[k]
        width = agent.encoded_width
        if agent.kind == "discrete":
            log_p = functional.log_softmax(output[:, :width], dim=1)
            index = (log_p if noise is None else log_p + noise).argmax(dim=1)
            chosen = functional.one_hot(index, width).to(log_p.dtype)
            latent = index.to(log_p.dtype).unsqueeze(1)
            return latent, latent, (log_p * chosen).sum(1), chosen
        mean = output[:, :width]
        raw = self.raw_sigma[self.table.gaussian_slice(k)].expand_as(mean)
        if self.config.state_dependent_sigma:
            raw = raw + output[:, width : 2 * width]
        log_sigma = self._log_sigma(raw)
        stochastic = self.table.stochastic_of(k).to(mean)
        spread = 0.0 if noise is None else noise * log_sigma.exp() * stochastic
        latent = mean + spread
        density = gaussian_log_density(latent, mean, log_sigma) * stochastic
        action = torch.sigmoid(latent)
        return latent, action, density.sum(1), action

    def evaluate(
        self,
        rows: Tensor,
        latent: Tensor,
        masks: Tensor | None = None,
        memory: Tensor | None = None,
        begins: Tensor | None = None,
    ) -> Evaluated:
        """Log-probabilities, entropies and predictions of decisions taken earlier.

        rows [N, row_width]; latent [N, action_width] as `act` gave it. Parallel
        over agents, each on the recorded choices of those before it.
        """
        self._check(masks, memory, begins)
        masks = self.legal(rows, masks)
        first = self._first_given(rows, latent)
        outputs = self._outputs(first).to(rows.dtype)
        dropped = None
        if self.bank is not None and self.config.dropout.coefficient:
            dropped = self._outputs(first, self.bank.of_rows(len(rows))).to(rows.dtype)
        # Where autocast holds, too: in bfloat16 a log-probability of -5 is off by .03.
        with torch.autocast(outputs.device.type, enabled=False):
            evaluated = self._judge(outputs, latent, masks)
            auxiliary = self.reader.losses(self.inputs(rows))
            if dropped is not None:
                auxiliary["dropout_loss"] = self._divergence(outputs.detach(), dropped, masks)
        return evaluated._replace(auxiliary=auxiliary)

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

    def _divergence(self, outputs: Tensor, dropped: Tensor, masks: Tensor | None) -> Tensor:
        """Weighted mean over agents of KL(without a mask || with it) [N] (Liang et al., 2021)."""
        table = self.table
        total = outputs.new_zeros(len(outputs))
        if table.gaussians:
            raw = self.raw_sigma.detach().expand(len(outputs), -1)
            if self.config.state_dependent_sigma:
                raw = raw + outputs[:, table.sigma_index]
            apart = outputs[:, table.mean_index] - dropped[:, table.mean_index]
            total = (0.5 * (apart * torch.exp(-self._log_sigma(raw))) ** 2).sum(1)
        for k, columns in table.discrete_columns:
            log_p, log_q = (
                functional.log_softmax(self._allowed(part[:, columns], k, masks), dim=1)
                for part in (outputs, dropped)
            )
            total = total + (log_p.exp() * (log_p - log_q)).sum(1)
        return self.config.dropout.coefficient / self.agents * total

    def _judge(self, outputs: Tensor, latent: Tensor, masks: Tensor | None) -> Evaluated:
        """Heads' outputs [N, agents x outputs] and latents -> what `evaluate` gives."""
        table = self.table
        log_prob = outputs.new_zeros(outputs.shape[0], self.agents)
        entropy, supervised = log_prob, outputs.new_zeros(outputs.shape[0], 0)
        if table.gaussians:
            mean = outputs[:, table.mean_index]
            raw = self.raw_sigma.expand_as(mean)
            if self.config.state_dependent_sigma:
                raw = raw + outputs[:, table.sigma_index]
            log_sigma = self._log_sigma(raw)
            density = gaussian_log_density(latent[:, table.latent_index], mean, log_sigma)
            # A matrix [components, agents] sums components by agent, supervised ones left out.
            log_prob = density @ table.component_agent
            entropy = gaussian_entropy(log_sigma) @ table.component_agent
            supervised = torch.sigmoid(mean[:, table.supervised_index])
        for k, columns in table.discrete_columns:
            logits = self._allowed(outputs[:, columns], k, masks)
            log_p = functional.log_softmax(logits, dim=1)
            index = latent[:, self.layout.action_slice(k)].long()
            column = functional.one_hot(torch.tensor(k), self.agents).to(log_p)
            log_prob = log_prob + log_p.gather(1, index) * column
            entropy = entropy - (log_p.exp() * log_p).sum(1, keepdim=True) * column
        return Evaluated(log_prob, entropy, supervised)

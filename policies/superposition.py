"""Heads that superpose basis states: a choice's probability is the square of summed amplitudes.

Each state k is a distribution p_k over the choices, with an amplitude a_k (their squares sum
to 1) and a phase phi_k, all of them functions of what the head reads:

    psi_c = sum_k a_k exp(i phi_k) sqrt(p_kc) / norm,    P(c) = |psi_c|^2.

States in phase strengthen the choices that they share, states out of phase cancel them: the
cross terms 2 a_j a_k sqrt(p_jc p_kc) cos(phi_j - phi_k) are what a mixture of the same states
does not have. All arithmetic is real, in logarithms of amplitudes and (cos, sin) pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.stacked import StackedLinear

# Added to |psi|^2 before its logarithm, whose gradient else has no bound where states cancel.
# Less than half a unit in the last place of 1, so that one state alone is left as it is.
_FLOOR = 1e-8
_QUARTER_TURN = math.pi / 2.0  # over which phases are spread at first; alike, they never part


class SuperpositionLayer(nn.Module):
    """Heads of `networks` agents side by side; what they read and give is [networks, rows, ...].

    The first state's logits come from outside, from the plain head whose place this takes:
    with one state they are given back as they came, bit by bit.

    choices: of each agent; logits are padded to the most of them. bias: [networks, 1, width],
    that of the plain head, from which all states begin. gain: of the weights.
    """

    real: Tensor

    def __init__(
        self,
        inputs: int,
        choices: Sequence[int],
        states: int,
        bias: Tensor,
        gain: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.states = states
        networks, width = len(choices), bias.shape[-1]
        self.others = StackedLinear(
            networks, inputs, (states - 1) * width, gain, generator, max(1, states - 1)
        )
        self.gates = StackedLinear(networks, inputs, 2 * states, gain, generator)
        with torch.no_grad():
            self.others.bias.copy_(bias.repeat(1, 1, states - 1))
            self.gates.bias[..., states:] = torch.linspace(0.0, _QUARTER_TURN, states)
        real = torch.arange(width) < torch.tensor(list(choices)).unsqueeze(1)
        self.register_buffer("real", real.view(networks, 1, 1, width), persistent=False)

    def forward(self, hidden: Tensor, plain: Tensor, network: int | None = None) -> Tensor:
        """Logits [networks, rows, width] of the choices, less a constant of each row.

        hidden: [networks, rows, inputs]. plain: the first state's logits, as `forward` gives
        them. network: the one that both are of; None where they are of all.
        """
        top, real, imaginary = self._amplitudes(hidden, plain, network)
        return 2.0 * top + torch.log(real * real + imaginary * imaginary + _FLOOR)

    def state(self, hidden: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """(real, imaginary) parts of psi, each [networks, rows, width]: squares sum to 1."""
        top, real, imaginary = self._amplitudes(hidden, plain, None)
        size = torch.sqrt(real * real + imaginary * imaginary + _FLOOR)
        logits = (2.0 * (top + torch.log(size))).masked_fill(~self.real.squeeze(2), -math.inf)
        root = torch.softmax(logits, dim=-1).sqrt() / size
        return real * root, imaginary * root

    def _amplitudes(
        self, hidden: Tensor, plain: Tensor, network: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(log of a factor, real and imaginary part of psi over it), [networks, rows, width]."""
        which = slice(None) if network is None else slice(network, network + 1)
        others = torch.baddbmm(self.others.bias[which], hidden, self.others.weight[which])
        gates = torch.baddbmm(self.gates.bias[which], hidden, self.gates.weight[which])
        states = torch.cat(
            [plain.unsqueeze(-2), others.unflatten(-1, (self.states - 1, plain.shape[-1]))], dim=-2
        )
        size = states.masked_fill(~self.real[which], -math.inf).logsumexp(-1, keepdim=True)
        gate, phase = (part.unsqueeze(-1) for part in gates.split(self.states, dim=-1))
        # Every state of norm 1, up to the first one's, which is common to all.
        share = torch.log_softmax(gate, dim=-2) + (size[..., :1, :] - size)
        log_amplitude = 0.5 * (states + share)
        top = log_amplitude.detach().amax(-2, keepdim=True)
        amplitude = torch.exp(log_amplitude - top)
        real = (amplitude * torch.cos(phase)).sum(-2)
        imaginary = (amplitude * torch.sin(phase)).sum(-2)
        return top.squeeze(-2), real, imaginary

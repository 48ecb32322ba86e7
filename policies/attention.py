"""Where the encoders of a policy look: the share of each bar in what a decision is made from.

An encoder pools its steps by weights that sum to 1. Where steps attend to each other before
that, a step holds something of all others: what of it came from where is followed back
through the blocks by attention rollout (Abnar and Zuidema, "Quantifying Attention Flow in
Transformers", 2020), half of a step passing by each block as it is. A share says where an
encoder looks and not what a column does to a decision, which is `policies.attribution`'s.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from policies.ensemble import EnsemblePolicy, LayerPolicy

_RESIDUAL = 0.5  # of a step, that passes by a block


class AttentionMap(NamedTuple):
    """Where one encoder looks in each of N rows.

    columns: that it reads, without lags; agents: names of those that read its embedding.
    pooled: [N, steps], weights of the pooling, oldest first.
    blocks: of each block of self-attention [N, heads, steps, steps], what share of step j goes
        into step i; none where there is no such block.
    bars: [N, bars of the window], the share of each in the embedding, oldest first.

    Rows of each sum to 1.
    """

    columns: tuple[str, ...]
    agents: tuple[str, ...]
    pooled: Tensor
    blocks: tuple[Tensor, ...]
    bars: Tensor


@torch.no_grad()
def attention_maps(policy: LayerPolicy, rows: Tensor) -> list[AttentionMap]:
    """One map for each encoder of `policy`, for rows float32 [N, row_width]; [] without any.

    Of a mixture the members' encoders, one member after another.
    """
    if isinstance(policy, EnsemblePolicy):
        return [found for member in policy.each for found in attention_maps(member, rows)]
    found = []
    seen = policy.inputs(rows)
    for number, part in enumerate(policy.reader.parts):
        encoder, bars = policy.reader.encoder_of(number), policy.reader.bars(seen, number)
        pooled, blocks = encoder.attention(bars), encoder.self_attention(bars)
        found.append(
            AttentionMap(
                columns=part.names(policy.layout),
                agents=tuple(policy.layout.agents[k].name for k in sorted(part.agents)),
                pooled=pooled,
                blocks=tuple(blocks),
                bars=by_bar(rolled_out(pooled, blocks), bars.shape[1], encoder.bars_per_step),
            )
        )
    return found


def rolled_out(pooled: Tensor, blocks: list[Tensor]) -> Tensor:
    """Pooling weights [N, steps] followed back through `blocks`, the mean over their heads."""
    shares = pooled
    for block in reversed(blocks):
        through = (shares.unsqueeze(1) @ block.mean(1)).squeeze(1)
        shares = _RESIDUAL * shares + (1.0 - _RESIDUAL) * through
    return shares


def by_bar(shares: Tensor, bars: int, bars_per_step: int) -> Tensor:
    """Shares [N, steps] spread evenly over the bars of each step: [N, bars].

    Steps are counted back from the newest bar; what is left over at the begin is the first's.
    """
    back = torch.arange(bars - 1, -1, -1) // bars_per_step
    step = (shares.shape[1] - 1 - back).clamp(min=0)
    held = torch.bincount(step, minlength=shares.shape[1])
    return shares[:, step] / held[step]

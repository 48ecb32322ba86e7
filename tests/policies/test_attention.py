"""Where encoders look: shares that sum to 1, told by bar, of the encoder that decides."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from policies.attention import attention_maps, by_bar, rolled_out
from policies.encoders import RegimeEncoder, StructureEncoder, TransformerBlock
from tests.policies.windowed import ATTENTION, BOTH, ENCODERS, LAYOUT, places, policy_of, rows_of

ROWS = 9


@pytest.mark.parametrize("encoders", [ENCODERS, (ATTENTION, ENCODERS[1])], ids=["own", "attention"])
def test_shares_are_distributions_of_the_bars_of_each_window(encoders: tuple[object, ...]) -> None:
    policy = policy_of(encoders=encoders)
    maps = attention_maps(policy, rows_of(ROWS))
    assert len(maps) == len(policy.reader.parts)
    for found, part in zip(maps, policy.reader.parts, strict=True):
        assert found.columns == part.names(LAYOUT)
        assert found.agents == tuple(LAYOUT.agents[k].name for k in sorted(part.agents))
        assert found.bars.shape == (ROWS, part.window.rows)
        for shares in (found.pooled, found.bars, *found.blocks):
            assert (shares >= 0).all()
            torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]))
        assert found.pooled.std(0).max() > 0  # each decision has its own


def test_a_map_is_of_the_encoder_that_the_policy_decides_by() -> None:
    policy, rows = policy_of(), rows_of(ROWS)
    for number, found in enumerate(attention_maps(policy, rows)):
        encoder, bars = policy.reader.encoder_of(number), policy.reader.bars(rows, number)
        assert torch.equal(found.pooled, encoder.attention(bars))
        if isinstance(encoder, StructureEncoder):
            assert found.blocks == ()
        if isinstance(encoder, RegimeEncoder):
            (shares,) = found.blocks
            (block,) = encoder.blocks
            assert isinstance(block, TransformerBlock)
            tokens = encoder._embedded(bars)
            query, key, value = block._parts(tokens)
            heard = functional.scaled_dot_product_attention(query, key, value)
            torch.testing.assert_close(shares @ value, heard)
    # Of what an encoder does not read its map does not depend.
    other = rows.clone()
    other[:, places("noise")] += 1.0
    moved = [
        not torch.equal(a.pooled, b.pooled)
        for a, b in zip(attention_maps(policy, rows), attention_maps(policy, other), strict=True)
    ]
    names = [found.columns for found in attention_maps(policy, rows)]
    assert moved == [columns == ("noise",) for columns in names]
    assert LAYOUT.agents[BOTH].name in attention_maps(policy, rows)[names.index(("noise",))].agents


def test_steps_are_spread_over_their_bars_counted_from_the_newest() -> None:
    shares = torch.tensor([[0.2, 0.3, 0.5]])
    whole = by_bar(shares, 6, 2)
    torch.testing.assert_close(whole, torch.tensor([[0.1, 0.1, 0.15, 0.15, 0.25, 0.25]]))
    left_over = by_bar(shares, 5, 2)
    torch.testing.assert_close(left_over, torch.tensor([[0.2, 0.15, 0.15, 0.25, 0.25]]))


def test_a_rollout_by_hand() -> None:
    pooled = torch.tensor([[1.0, 0.0]])
    block = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]]]])
    # Heads' mean sends a quarter of step 0 to itself and the rest to step 1; half passes by.
    torch.testing.assert_close(rolled_out(pooled, [block]), torch.tensor([[0.625, 0.375]]))
    assert torch.equal(rolled_out(pooled, []), pooled)


def test_without_encoders_there_is_no_map() -> None:
    assert attention_maps(policy_of(encoders=()), rows_of(2)) == []

"""Which columns a decision came from: integrated gradients of an agent's output.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (2017): the gradient with
respect to the row, integrated along the straight line from a baseline row to it. What all
columns are given sums to the difference of the two outputs (completeness).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from torch.nn import functional

from configs.errors import TrainingError
from policies.distributions import forbid
from policies.ensemble import LayerPolicy
from signals.layout import LayerLayout

STEPS = 64  # of the integral, at Gauss and Legendre's places
_AT_ONCE = 512  # rows that are pushed through the network together


class Attribution(NamedTuple):
    """What each column did to one output of one agent, double precision.

    columns: [N, row_width]. output, baseline: [N], of the row and of the baseline row; what
        `columns` of a row sum to is their difference.
    """

    columns: Tensor
    output: Tensor
    baseline: Tensor


class _Chosen(torch.nn.Module):
    """Rows -> one output of one agent, all choices and all that is allowed held as they were."""

    def __init__(self, policy: LayerPolicy, agent: int, component: int) -> None:
        super().__init__()
        self.policy, self.agent, self.component = policy, agent, component

    def forward(self, rows: Tensor, latent: Tensor, masks: Tensor) -> Tensor:
        outputs = self.policy.outputs_given(rows, latent)[:, self.agent]
        layout = self.policy.layout
        if layout.agents[self.agent].kind == "box":
            return outputs[:, self.component]
        place = self.policy.table.mask_slices[self.agent]
        logits = forbid(outputs[:, : place.stop - place.start], masks[:, place])
        index = latent[:, layout.action_slice(self.agent)].long()
        return functional.log_softmax(logits, dim=1).gather(1, index).squeeze(1)


def attribute(
    policy: LayerPolicy,
    agent: int,
    rows: Tensor,
    baseline: Tensor | None = None,
    component: int = 0,
    steps: int = STEPS,
) -> Attribution:
    """What each column did to the decision in mode of agent number `agent`.

    The output is the log-probability of a discrete agent's choice, or the mean in logits of a
    box agent's `component`. What the agents before it chose, and which choices were allowed,
    is held as it was: the columns that say so keep their values and are given nothing.

    Args:
        rows: float32 [N, row_width].
        baseline: [row_width]; the mean of `rows` by default.

    Raises:
        TrainingError: no such agent or component, or rows of another width.
    """
    layout = policy.layout
    _check(layout, agent, component, rows)
    exact = copy.deepcopy(policy).double().eval()
    given = rows.double()
    with torch.no_grad():
        latent = exact.act(given, None).latent
        masks = exact.legal(given, None)
    if masks is None:
        masks = torch.ones(len(given), exact.mask_width, dtype=torch.bool)
    start = (given.mean(0) if baseline is None else baseline.double()).expand_as(given).clone()
    for k in exact.table.mask_slices:
        held = torch.from_numpy(layout.mask_indices(k))
        start[:, held] = given[:, held]
    output = _Chosen(exact, agent, component)
    columns = IntegratedGradients(output).attribute(
        given,
        start,
        additional_forward_args=(latent, masks),
        n_steps=steps,
        internal_batch_size=max(_AT_ONCE, len(given)),
    )
    with torch.no_grad():
        ends = (output(values, latent, masks) for values in (given, start))
        return Attribution(columns.detach(), *ends)


def by_name(layout: LayerLayout, columns: Tensor) -> dict[str, Tensor]:
    """Attributions [N, row_width] summed over the bars of a window: name -> [N].

    A column's name without its lag; in the order of the row.
    """
    places: dict[str, list[int]] = {}
    for place, column in enumerate(layout.columns):
        places.setdefault(column.name.partition("@")[0], []).append(place)
    return {name: columns[:, found].sum(1) for name, found in places.items()}


def _check(layout: LayerLayout, agent: int, component: int, rows: Tensor) -> None:
    if not 0 <= agent < len(layout.agents):
        raise TrainingError(
            f"agent number {agent} of layer '{layout.layer}': expected 0 to "
            f"{len(layout.agents) - 1}, in the order of acting"
        )
    if not 0 <= component < layout.agents[agent].encoded_width:
        raise TrainingError(
            f"component {component} of {layout.agents[agent].name}: expected 0 to "
            f"{layout.agents[agent].encoded_width - 1}"
        )
    if rows.dim() != 2 or rows.shape[1] != layout.row_width or not len(rows):
        raise TrainingError(
            f"rows of shape {tuple(rows.shape)}: expected [N, {layout.row_width}], at least one, "
            f"of layer '{layout.layer}'"
        )

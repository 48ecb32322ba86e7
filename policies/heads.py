"""Where each agent's choice lies in heads' outputs, latents and encodings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.errors import TrainingError
from signals.layout import LayerLayout

_ALLOWED = 0.5  # a flag is 0 or 1


class HeadTable(nn.Module):
    """Indices derived from a layout, kept as buffers so that they follow the device.

    Heads are padded to one width, `outputs` per agent: a box agent uses its
    components' means, then (state-dependent sigma) their raw sigmas; a discrete
    agent uses its logits.
    """

    mean_index: Tensor
    sigma_index: Tensor
    latent_index: Tensor
    supervised_index: Tensor
    component_agent: Tensor
    stochastic: Tensor

    def __init__(self, layout: LayerLayout, state_dependent_sigma: bool) -> None:
        super().__init__()
        self.layout = layout
        boxes = [a.kind == "box" for a in layout.agents]
        factor = 2 if state_dependent_sigma else 1
        self.outputs = max(
            a.encoded_width * (factor if box else 1)
            for a, box in zip(layout.agents, boxes, strict=True)
        )
        self.choice_width = layout.upstream_width - (len(layout.agents) - 1)
        self.discrete_columns: list[tuple[int, slice]] = []
        self.mask_slices: dict[int, slice] = {}  # of discrete agents, in a row of masks
        self.mask_width = 0
        self._gaussian_slices: dict[int, slice] = {}
        mean: list[int] = []
        sigma: list[int] = []
        latent: list[int] = []
        owner: list[int] = []
        stochastic: list[float] = []
        for k, agent in enumerate(layout.agents):
            width, start = agent.encoded_width, k * self.outputs
            if agent.kind == "discrete":
                self.discrete_columns.append((k, slice(start, start + width)))
                self.mask_slices[k] = slice(self.mask_width, self.mask_width + width)
                self.mask_width += width
                continue
            self._gaussian_slices[k] = slice(len(mean), len(mean) + width)
            mean.extend(range(start, start + width))
            sigma.extend(range(start + width, start + 2 * width))
            actions = layout.action_slice(k)
            latent.extend(range(actions.start, actions.stop))
            owner.extend([k] * width)
            stochastic.extend(0.0 if c.supervised else 1.0 for c in agent.components)
        self.gaussians = len(mean)
        flags = torch.tensor(stochastic)
        by_agent = torch.zeros(len(mean), len(layout.agents))
        by_agent[torch.arange(len(mean)), torch.tensor(owner, dtype=torch.long)] = flags
        buffers = {
            "mean_index": torch.tensor(mean, dtype=torch.long),
            "sigma_index": torch.tensor(sigma, dtype=torch.long),
            "latent_index": torch.tensor(latent, dtype=torch.long),
            "supervised_index": torch.nonzero(flags == 0.0).flatten(),
            "component_agent": by_agent,
            "stochastic": flags,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def supervised(self) -> int:
        """Number of supervised components, in the order of `BatchedEnv.targets`."""
        return len(self.supervised_index)

    def initial_bias(self, temperature: Mapping[str, float]) -> Tensor:
        """[agents, 1, outputs]: heads' biases with which every agent starts at its `initial`.

        Args:
            temperature: of discrete agents by name, see `ActorConfig.initial_temperature`.

        Raises:
            TrainingError: it names what is no discrete agent.
        """
        choosers = [self.layout.agents[k].name for k in self.mask_slices]
        if unknown := temperature.keys() - set(choosers):
            raise TrainingError(
                f"mappo.policy.initial_temperature names {', '.join(sorted(unknown))}: expected "
                f"agents of layer '{self.layout.layer}' that choose between discrete actions "
                f"({', '.join(choosers) or 'it has none'}); leave out the others"
            )
        bias = torch.zeros(len(self.layout.agents), 1, self.outputs)
        for k, agent in enumerate(self.layout.agents):
            initial = torch.tensor([component.initial for component in agent.components])
            if agent.kind == "discrete":
                logits = torch.log(initial / initial.sum())
                bias[k, 0, : len(initial)] = logits / temperature.get(agent.name, 1.0)
            else:
                bias[k, 0, : len(initial)] = torch.logit(initial)
        return bias

    def gaussian_slice(self, k: int) -> slice:
        """Where box agent k's components lie among all Gaussian components."""
        return self._gaussian_slices[k]

    def stochastic_of(self, k: int) -> Tensor:
        """1 for each component of box agent k that is sampled, 0 for a supervised one."""
        return self.stochastic[self.gaussian_slice(k)]

    def encode(self, latent: Tensor) -> Tensor:
        """Latents [N, action_width] -> the choices [N, choice_width] that later agents read."""
        parts = [latent.new_zeros(latent.shape[0], 0)]
        for k, agent in enumerate(self.layout.agents[:-1]):
            chosen = latent[:, self.layout.action_slice(k)]
            if agent.kind == "discrete":
                one_hot = functional.one_hot(chosen.squeeze(1).long(), agent.encoded_width)
                parts.append(one_hot.to(latent.dtype))
            else:
                parts.append(torch.sigmoid(chosen))
        return torch.cat(parts, dim=1)


class LegalChoices(nn.Module):
    """Which choices the rows' own columns allow, where the layout names columns for them."""

    columns: Tensor
    always: Tensor

    def __init__(self, layout: LayerLayout, table: HeadTable) -> None:
        super().__init__()
        columns: list[int] = []
        always: list[bool] = []
        for k in table.mask_slices:
            places = layout.mask_indices(k).tolist()
            width = layout.agents[k].encoded_width
            columns.extend(places or [0] * width)
            always.extend([not places] * width)
        self._named = not all(always)
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long), persistent=False)
        self.register_buffer("always", torch.tensor(always), persistent=False)

    def forward(self, rows: Tensor, masks: Tensor | None) -> Tensor | None:
        """What `masks` [N, mask_width] and the rows both allow; None where nothing is forbidden."""
        if not self._named:
            return masks
        found = (rows[:, self.columns] > _ALLOWED) | self.always
        return found if masks is None else found & masks

"""Windows sent bar by bar: what comes out is what went in, and trains the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from configs.mappo import MappoConfig
from signals.layout import ActionComponent, AgentLayout, Column, LayerLayout, Window
from trainers.mappo.plan import plan_training
from trainers.mappo.rollout import Rollout
from trainers.mappo.sampler import Sampler
from trainers.mappo.update import build_update
from trainers.mappo.windows import PackedWindows, WindowPacker, WindowTables

WINDOWS = (Window(4, 3), Window(2, 1))
WIDTH = sum(window.width for window in WINDOWS)


def _layout(windows: tuple[Window, ...]) -> LayerLayout:
    columns = tuple(Column(f"c{k}", "1", -10, 10, "made up") for k in range(WIDTH + 2))
    choices = tuple(ActionComponent(name, name) for name in ("LEFT", "RIGHT"))
    agents = tuple(AgentLayout(f"agent_{k}", (), "discrete", choices) for k in range(2))
    privileged = (Column("hidden", "1", -10, 10, "made up", privileged=True),)
    return LayerLayout("windows", columns, agents, privileged, windows=windows)


class Bars:
    """A `BatchedEnv` whose rows begin with the last bars of a random series each episode."""

    metric_names: tuple[str, ...] = ()

    def __init__(self, num_envs: int, layout: LayerLayout) -> None:
        self.layout, self.num_envs = layout, num_envs
        self.rows = np.zeros((num_envs, layout.row_width), np.float32)
        self.states = np.zeros((num_envs, layout.state_width), np.float32)
        self.rewards = np.zeros((num_envs, 2), np.float32)
        self.terminations = np.zeros(num_envs, np.bool_)
        self.truncations = np.zeros(num_envs, np.bool_)
        self.targets = np.zeros((num_envs, 0), np.float32)
        self.episode_metrics = np.zeros((num_envs, 0))
        self._rng = np.random.default_rng(0)
        self._steps = np.zeros(num_envs, np.int64)
        self._series: list[list[NDArray[np.float32]]] = [[] for _ in range(num_envs)]

    def reset(self, mask: Any = None, seeds: Any = None) -> None:
        for n in range(self.num_envs) if mask is None else np.flatnonzero(mask):
            self._series[n] = [self._draw((w.rows + 50, w.columns)) for w in WINDOWS]
            self._steps[n] = 0
        self._observe()

    def _draw(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self._rng.normal(size=shape).astype(np.float32)

    def _observe(self) -> None:
        for n in range(self.num_envs):
            at, step = 0, self._steps[n]
            for window, series in zip(WINDOWS, self._series[n], strict=True):
                part = series[step : step + window.rows].ravel()
                self.rows[n, at : at + window.width] = part
                at += window.width
            self.rows[n, at:] = self._draw((2,))
        self.states[:, :-1] = self.rows
        self.states[:, -1] = self._draw((self.num_envs,))

    def step(self, actions: NDArray[np.float32]) -> None:
        self._steps += 1
        self.rewards[:] = self.rows[:, :2] * (2.0 * actions - 1.0)
        # Lengths differ, so that episodes begin at every place of a rollout.
        self.terminations[:] = self._steps >= 5 + 3 * np.arange(self.num_envs)
        self._observe()


def _settings(**changes: Any) -> MappoConfig:
    told = {"num_envs": 6, "rollout_length": 16, "epochs": 2, "minibatches": 3}
    return MappoConfig.model_validate(told | {"stop": {"iterations": 2}} | changes)


def _sampled(
    windows: tuple[Window, ...], rounds: int = 2
) -> tuple[Any, MappoConfig, list[Rollout]]:
    settings = _settings()
    layout = _layout(windows)
    plan = plan_training(layout, settings)
    sampler = Sampler(Bars(6, layout), plan, seed=0)
    actors = {actor.name: actor.build() for actor in plan.actors}
    return plan, settings, [sampler.sample(actors, 16) for _ in range(rounds)]


def _whole(packed: PackedWindows, rest: NDArray[np.float32]) -> NDArray[np.float32]:
    tables = WindowTables(packed, torch.device("cpu"))
    found = tables.whole(torch.from_numpy(rest), torch.from_numpy(packed.places))
    return np.asarray(found.numpy())


def test_rows_and_states_come_out_as_they_went_in() -> None:
    _, _, flat = _sampled(())
    _, _, packed = _sampled(WINDOWS)
    for plain, compact in zip(flat, packed, strict=True):
        assert compact.windows is not None and plain.windows is None
        (rows,) = (d.rows for d in plain.decisions.values())
        (rest,) = (d.rows for d in compact.decisions.values())
        assert rest.shape[-1] == 2
        assert (_whole(compact.windows, rest) == rows).all()
        assert (_whole(compact.windows, compact.states) == plain.states).all()


def test_every_bar_is_kept_once() -> None:
    _, _, (first, _) = _sampled(WINDOWS)
    assert first.windows is not None
    table = first.windows.tables[0]
    kept = len(np.unique(table[np.any(table != 0.0, axis=1)], axis=0))
    # Each of the episodes brings a whole window, each further step one bar.
    begins = int(first.begins.sum())
    assert kept == begins * 4 + (first.env_steps() - begins)


def test_split_and_joined_again_they_are_the_same() -> None:
    _, _, (rollout, other) = _sampled(WINDOWS)
    parts = rollout.split(3)
    joined = Rollout.concatenate(parts)
    assert rollout.windows is not None and joined.windows is not None
    assert (_whole(joined.windows, joined.states) == _whole(rollout.windows, rollout.states)).all()
    both = Rollout.concatenate([rollout, other])
    assert both.windows is not None and other.windows is not None
    assert (_whole(both.windows, both.states)[:, 6:] == _whole(other.windows, other.states)).all()


def _trained(windows: tuple[Window, ...]) -> dict[str, torch.Tensor]:
    plan, settings, rollouts = _sampled(windows)
    torch.manual_seed(0)
    update = build_update(plan, settings, torch.device("cpu"))
    for number, rollout in enumerate(rollouts):
        update.run(rollout, progress=0.0, number=number)
    modules = {"critic": update.critic, **update.actors}
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def test_they_train_the_same_weights() -> None:
    plain, compact = _trained(()), _trained(WINDOWS)
    assert plain.keys() == compact.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compact[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("begins_every", [1, 3, 100])
def test_a_packer_takes_any_number_of_episodes(begins_every: int) -> None:
    rng = np.random.default_rng(1)
    packer = WindowPacker(WINDOWS, 12, 2)
    rows = np.zeros((12, 2, WIDTH), np.float32)
    for t in range(12):
        fresh = t % begins_every == 0
        at = 0
        for window in WINDOWS:
            part = slice(at, at + window.width)
            at += window.width
            now = rng.normal(size=(2, window.width)).astype(np.float32)
            if not fresh:
                now[:, : -window.columns] = rows[t - 1, :, part][:, window.columns :]
            rows[t, :, part] = now
        packer.add(t, rows[t], np.full(2, fresh))
    packed = packer.packed()
    assert (_whole(packed, np.zeros((12, 2, 0), np.float32)) == rows).all()
    first = replace(packed, places=packed.places[:1])
    assert (_whole(first, np.zeros((1, 2, 0), np.float32)) == rows[:1]).all()

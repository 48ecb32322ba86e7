"""What breaks PettingZoo's contract is one error that names agent, row, step and seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs.errors import TrainingError
from envs.vector import VectorEnv, make_vector
from tests.envs.teams import Broken, Masked, Scripted, Stateful, Turns, plain

OBSERVATIONS, REWARDS, TERMINATIONS, TRUNCATIONS, INFOS = range(5)


def put(part: int, agent: str, value: Any) -> Callable[[Any], Any]:
    """Damage: this value for this agent."""

    def damage(result: Any) -> Any:
        result[part][agent] = value
        return result

    return damage


def lack(part: int, agent: str) -> Callable[[Any], Any]:
    """Damage: nothing for this agent."""

    def damage(result: Any) -> Any:
        del result[part][agent]
        return result

    return damage


def raised(error: Exception) -> Callable[[Any], Any]:
    def damage(result: Any) -> Any:
        raise error

    return damage


def broken(damage: Callable[[Any], Any], when: int = 2) -> VectorEnv:
    """Three rows; the damage is done in the middle one alone."""
    env = make_vector(3, seed=1, env=Broken, kwargs={"damage": damage, "when": when})
    for row in (0, 2):
        env._rows[row].env.damage = lambda result: result
    return env


def play(env: VectorEnv, steps: int = 3) -> None:
    env.reset()
    for _ in range(steps):
        env.step(np.zeros((env.num_envs, env.layout.action_width), np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put(REWARDS, "agent_1", np.nan), "agent 'agent_1': reward is nan"),
        (put(REWARDS, "agent_0", -np.inf), "agent 'agent_0': reward is -inf"),
        (put(REWARDS, "agent_1", None), "agent 'agent_1': reward is nan"),
        (put(REWARDS, "agent_1", "much"), "agent 'agent_1': reward 'much'"),
        (put(TERMINATIONS, "agent_1", np.zeros(2, bool)), "agent 'agent_1': .* two flags"),
        (
            put(OBSERVATIONS, "agent_1", np.array([0, np.nan, 0])),
            r"agent 'agent_1': observation 'observation\[1\]' is nan",
        ),
        (put(OBSERVATIONS, "agent_0", np.zeros(1)), r"'agent_0': observation has shape \(1,\)"),
        (put(OBSERVATIONS, "agent_0", np.zeros((3, 1))), r"'agent_0': .* shape \(3, 1\)"),
        (lack(OBSERVATIONS, "agent_1"), "agent 'agent_1': there is no observation"),
        (lack(REWARDS, "agent_1"), "agent 'agent_1': the step gave nothing for it in rewards"),
        (lack(TERMINATIONS, "agent_0"), "agent 'agent_0': .* in terminations"),
        (lack(TRUNCATIONS, "agent_0"), "agent 'agent_0': .* in truncations"),
        (put(INFOS, "agent_0", {"action_mask": np.ones(4)}), "'agent_0': infos hold an 'action_"),
        (
            lambda result: result[:4],
            r"step\(\) gave \(dict, dict, dict, dict\): expected the dicts",
        ),
        (lambda result: (*result[:4], []), r"\(dict, dict, dict, dict, list\)"),
        (lambda result: None, r"step\(\) gave NoneType"),
        (raised(ZeroDivisionError("by zero")), "the environment raised ZeroDivisionError: by zero"),
        (raised(KeyError("agent_1")), "the environment raised KeyError: 'agent_1'"),
        (raised(ValueError()), "the environment raised ValueError: without a message"),
    ],
)
def test_a_broken_step_is_placed(damage: Callable[[Any], Any], message: str) -> None:
    env = broken(damage)
    with pytest.raises(TrainingError, match=message) as caught:
        play(env)
    seed = env._rows[1].env.seeds[-1]
    assert f"environment row 1, in step 2 of the episode that reset(seed={seed})" in str(
        caught.value
    )


def test_what_an_environment_raised_is_kept() -> None:
    original = ZeroDivisionError("by zero")
    with pytest.raises(TrainingError) as caught:
        play(broken(raised(original)))
    assert caught.value.__cause__ is original


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (raised(OSError("no disk")), "the environment raised OSError: no disk"),
        (lambda result: result[0], r"reset\(\) gave dict: expected the dicts observations, infos"),
        (put(OBSERVATIONS, "agent_0", np.full(3, np.inf)), "'agent_0': observation .* is inf"),
        (lack(OBSERVATIONS, "agent_0"), "'agent_0': there is no observation"),
    ],
)
def test_a_broken_reset_is_placed(damage: Callable[[Any], Any], message: str) -> None:
    # The one that makes the trial is not damaged: it counts its resets.
    env = broken(damage, when=0)
    env.reset()
    env.reset()
    with pytest.raises(TrainingError, match=message) as caught:
        env.reset()
    assert "environment row 1, at the beginning of the episode" in str(caught.value)


class Leaving(Scripted):
    """In step 2 agent_1 goes in some way that is not PettingZoo's."""

    def __init__(self, how: str) -> None:
        like = plain(2)
        super().__init__(like._observation_spaces, like._action_spaces)
        self.how = how

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed, options)
        if self.how == "nobody":
            self.agents = [] if len(self.seeds) > 0 else self.agents
        return result

    def step(self, actions: dict[str, Any]) -> Any:
        result = super().step(actions)
        if self.clock == 2:
            if self.how == "unflagged":
                self.agents.remove("agent_1")
            elif self.how == "stranger":
                self.agents.append("agent_7")
            elif self.how == "unseen":
                self.agents.remove("agent_1")
                result[TRUNCATIONS]["agent_1"] = True
                del result[OBSERVATIONS]["agent_1"]
        return result


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unflagged", "agent 'agent_1': it left 'agents' with neither termination nor truncation"),
        ("stranger", "agent 'agent_7': it is in 'agents' and not in 'possible_agents'"),
        ("unseen", "agent 'agent_1': it was truncated and the step gave no observation"),
    ],
)
def test_agents_that_come_and_go_in_another_way_are_named(how: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        play(make_vector(2, seed=0, env=Leaving, kwargs={"how": how}))


def test_an_episode_without_agents_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"reset\(\) left no agent in 'agents'"):
        make_vector(1, seed=0, env=Leaving, kwargs={"how": "nobody"})


def test_an_agent_without_an_allowed_action_is_named() -> None:
    def mask(clock: int) -> Any:
        return np.zeros(4, np.int8) if clock == 4 else np.ones(4, np.int8)

    env = make_vector(2, seed=0, env=Masked, kwargs={"place": "infos", "mask": mask})
    with pytest.raises(TrainingError, match="agent 'agent_0': its action mask forbids") as caught:
        play(env, 5)
    assert "environment row 0, in step 4" in str(caught.value)


@pytest.mark.parametrize("place", ["infos", "observation"])
def test_a_mask_of_another_width_is_refused(place: str) -> None:
    def mask(clock: int) -> Any:
        return np.ones(3 if clock == 2 else 4, np.int8)

    env = make_vector(1, seed=0, env=Masked, kwargs={"place": place, "mask": mask})
    with pytest.raises(TrainingError, match="agent 'agent_0': the action mask has 3 flags"):
        play(env)


def test_a_mask_that_is_missing_is_refused() -> None:
    env = make_vector(1, seed=0, env=Masked, kwargs={"place": "infos"})
    env._rows[0].env.place = "elsewhere"
    with pytest.raises(TrainingError, match="'agent_0': there is no 'action_mask' in its infos"):
        play(env)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (lambda clock: 5 - (clock == 2), r"state\(\) gave 4 numbers, after the first reset 5"),
        (lambda clock: 5 // (clock != 2), "the environment raised ZeroDivisionError"),
    ],
)
def test_a_state_of_another_width_is_refused(width: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        play(make_vector(1, seed=0, env=Stateful, kwargs={"width": width}))


def test_a_state_that_is_not_finite_is_refused() -> None:
    class Endless(Stateful):
        def state(self) -> Any:
            return super().state() if self.clock < 2 else np.full(5, np.nan)

    with pytest.raises(TrainingError, match=r"number 0 of state\(\) is nan.*row 0, in step 2"):
        play(make_vector(1, seed=0, env=Endless))


class Raising(Stateful):
    def state(self) -> Any:
        raise RuntimeError("not now")


class Nameless(Scripted):
    def __init__(self, agents: list[str]) -> None:
        like = plain(2)
        super().__init__(like._observation_spaces, like._action_spaces)
        self.possible_agents = agents


def no_possible_agents() -> Any:
    env = plain()
    del env.possible_agents
    return env


def needing(size: int) -> Any:
    raise ValueError(f"size {size}")


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ("mpe2.simple_spread_v3", {}, "expected 'package.module:function'"),
        ("no_such_package:env", {}, "there is no module 'no_such_package'"),
        ("mpe2.simple_spread_v3:paralel_env", {}, "did you mean 'parallel_env'"),
        (needing, {"size": 3}, r"'needing': calling it with \(size=3\) raised ValueError: size 3"),
        (plain, {"sheep": 3}, "raised TypeError.*sheep"),
        (Turns, {"parallelizable": False}, "AECEnv that is not parallelizable"),
        ("pettingzoo.classic.tictactoe_v3:env", {}, "AECEnv that is not parallelizable"),
        (no_possible_agents, {}, "Scripted has no 'possible_agents'"),
        (
            "pettingzoo.test.example_envs.generated_agents_parallel_v0:parallel_env",
            {},
            "no 'possible_agents'",
        ),
        (dict, {}, "dict has no 'possible_agents'"),
        (Nameless, {"agents": []}, r"possible_agents is \[\]"),
        (Nameless, {"agents": ["agent_0", "agent_0"]}, "expected agents of different names"),
        (Raising, {}, r"state\(\) raised RuntimeError: not now"),
        (Broken, {"damage": raised(OSError("no disk")), "when": -1}, ""),
    ],
)
def test_what_is_no_environment_to_train_in_is_refused(
    env: Any, kwargs: dict[str, Any], message: str
) -> None:
    if not message:
        play(make_vector(1, seed=0, env=env, kwargs=kwargs))  # never damaged
        return
    with pytest.raises(TrainingError, match=message):
        make_vector(1, seed=0, env=env, kwargs=kwargs)

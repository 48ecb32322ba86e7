"""One environment of a batch: it is stepped, and what it gives is written into the arrays.

What PettingZoo leaves open is settled here. An agent whose termination or truncation is
set is gone, whether or not `agents` still lists it; where both are set, it terminated. An
agent that comes into `agents` later is alive from then on. Everything that breaks
PettingZoo's contract is an error that names agent, row, step and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from envs.vector_actions import bind_mask
from envs.vector_groups import MaskPlace, Member
from envs.vector_resume import Saver, Unsaved
from envs.vector_spaces import ACTION_MASK, Unfit
from signals.team import TeamLayout

_RESET_PARTS = ("observations", "infos")
_STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")


class TeamArrays(NamedTuple):
    """What `TeamEnv` shows of all rows; see there."""

    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    masks: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    rewards: NDArray[np.float32]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    ended: NDArray[np.bool_]

    @classmethod
    def of(cls, layout: TeamLayout, num_envs: int) -> TeamArrays:
        """Arrays for N environments, all of which wait for their reset."""
        agents = len(layout.agent_names)
        return cls(
            rows=np.zeros((num_envs, layout.row_width), np.float32),
            states=np.zeros((num_envs, layout.state_width), np.float32),
            masks=np.ones((num_envs, layout.mask_width), np.bool_),
            alive=np.zeros((num_envs, agents), np.bool_),
            rewards=np.zeros((num_envs, agents), np.float32),
            terminations=np.zeros((num_envs, agents), np.bool_),
            truncations=np.zeros((num_envs, agents), np.bool_),
            ended=np.ones(num_envs, np.bool_),
        )


class _Slot:
    """Where one agent's part of a row lies, and what writes into it."""

    __slots__ = ("index", "key", "mask", "mask_in", "observe", "put_mask", "seen")

    def __init__(
        self, index: int, member: Member, seen: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> None:
        self.index = index
        self.key = member.key
        self.seen = seen
        self.observe = member.observed.bind(seen)
        self.mask = mask
        self.mask_in: MaskPlace = member.mask_in
        self.put_mask = bind_mask(member.acting.choices, mask)


class Row:
    """Environment number `number` of the batch.

    Args:
        env: a ParallelEnv.
        members: its agents, in the layout's order.
    """

    def __init__(
        self,
        env: Any,
        number: int,
        layout: TeamLayout,
        members: Sequence[Member],
        arrays: TeamArrays,
    ) -> None:
        self.env = env
        self._saver = Saver(env)
        self.number = number
        self.steps = 0
        self.seed = 0  # that the environment's reset was given
        self._rows, self._states = arrays.rows[number], arrays.states[number]
        self._masks, self._alive = arrays.masks[number], arrays.alive[number]
        self._rewards, self._ended = arrays.rewards[number], arrays.ended[number : number + 1]
        self._terminations = arrays.terminations[number]
        self._truncations = arrays.truncations[number]
        self._slots = list(_slots(layout, members, self._rows, self._masks))
        self._by_key = {slot.key: slot for slot in self._slots}
        self._present: list[Any] = []  # env.agents, as it was when `_acting` was found
        self._asked: list[_Slot] = []  # those in `_present`
        self._acting: list[_Slot] = []  # those that are alive
        self._gone: list[_Slot] = []  # those whose last observation still stands

    def reset(self, seed: int) -> None:
        """Begin the episode of this seed.

        Raises:
            TrainingError: the environment raises, or gives what no ParallelEnv may give.
        """
        self.steps, self.seed = 0, seed
        result = self._call(self.env.reset, seed=seed)
        observations, infos = self._parts("reset", result, _RESET_PARTS)
        for numbers in (self._rows, self._states, self._rewards):
            numbers[:] = 0.0
        for marks in (self._alive, self._terminations, self._truncations):
            marks[:] = False
        self._masks[:] = True
        self._acting, self._gone = [], []
        self._cast(observations, {}, {}, [])
        if not self._acting:
            raise self.fault("reset() left no agent in 'agents': expected one at least")
        self._observe(observations, infos)
        self._read_state()

    def step(self, decoded: Sequence[Sequence[Any]]) -> None:
        """Take one step; `decoded` holds each agent's actions in all rows.

        Raises:
            TrainingError: the environment raises, or gives what no ParallelEnv may give.
        """
        if self._gone:
            self._forget()
        number = self.number
        actions = {slot.key: decoded[slot.index][number] for slot in self._asked}
        self.steps += 1
        result = self._call(self.env.step, actions)
        observations, rewards, terminations, truncations, infos = self._parts(
            "step", result, _STEP_PARTS
        )
        fallen = self._reward(rewards, terminations, truncations)
        if fallen or self.env.agents != self._present:
            self._cast(observations, terminations, truncations, fallen)
        self._observe(observations, infos)
        self._read_state()

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise self.fault(
                f"the environment raised {type(error).__name__}: "
                f"{str(error) or 'without a message'}"
            ) from error

    def _parts(self, what: str, result: Any, names: tuple[str, ...]) -> Any:
        """The result, if it is a tuple of so many mappings."""
        if isinstance(result, tuple) and len(result) == len(names):
            for part in result:
                if not isinstance(part, dict) and not isinstance(part, Mapping):
                    break
            else:
                return result
        got = type(result).__name__
        if isinstance(result, tuple):
            got = f"({', '.join(type(part).__name__ for part in result)})"
        raise self.fault(f"{what}() gave {got}: expected the dicts {', '.join(names)}")

    def _reward(self, rewards: Any, terminations: Any, truncations: Any) -> list[_Slot]:
        """Write the rewards of those that acted and their ends; the agents that are gone."""
        fallen: list[_Slot] = []
        own = self._rewards
        try:
            for slot in self._acting:
                key = slot.key
                own[slot.index] = rewards[key]
                if terminations[key]:
                    self._terminations[slot.index] = True
                    fallen.append(slot)
                elif truncations[key]:
                    self._truncations[slot.index] = True
                    fallen.append(slot)
        except KeyError as error:
            given = {"rewards": rewards, "terminations": terminations, "truncations": truncations}
            lacking = [name for name, part in given.items() if key not in part]
            raise self.fault(
                f"the step gave nothing for it in {' and '.join(lacking)}: every agent that acted "
                "needs a number and two flags",
                key,
            ) from error
        except (TypeError, ValueError) as error:
            raise self.fault(
                f"reward {rewards[key]!r}, termination {terminations.get(key)!r}, truncation "
                f"{truncations.get(key)!r}: expected a number and two flags",
                key,
            ) from error
        return fallen

    def _forget(self) -> None:
        """The last step's dead leave zeros."""
        for slot in self._gone:
            slot.seen[:] = 0.0
            self._rewards[slot.index] = 0.0
            self._terminations[slot.index] = self._truncations[slot.index] = False
        self._gone = []

    def _cast(
        self, observations: Any, terminations: Any, truncations: Any, fallen: list[_Slot]
    ) -> None:
        """Find who acts next, after `agents` changed or some agents fell."""
        for slot in fallen:
            self._bury(slot, observations)
        self._gone = fallen
        self._follow_agents()
        left = [s.key for s in self._acting if s not in fallen and s not in self._asked]
        if left:
            raise self.fault(
                "it left 'agents' with neither termination nor truncation: set the one that "
                "ended it in the step in which it goes",
                left[0],
            )
        self._acting = [
            slot
            for slot in self._asked
            if slot not in fallen
            and not terminations.get(slot.key, False)
            and not truncations.get(slot.key, False)
        ]
        self._alive[:] = False
        self._alive[[slot.index for slot in self._acting]] = True
        self._ended[0] = not self._acting

    def _follow_agents(self) -> None:
        """Note whom the environment lists, and so whose actions it is given."""
        self._present = list(self.env.agents)
        for key in self._present:
            if key not in self._by_key:
                raise self.fault(
                    "it is in 'agents' and not in 'possible_agents' "
                    f"({', '.join(map(str, self._by_key))}): list every agent that can come",
                    key,
                )
        self._asked = [self._by_key[key] for key in self._present]

    def _bury(self, slot: _Slot, observations: Any) -> None:
        """An agent is gone: its last observation stays for one step, its mask forbids nothing."""
        last = observations.get(slot.key)
        if last is not None:
            self._see(slot, last)
        elif self._truncations[slot.index]:
            raise self.fault(
                "it was truncated and the step gave no observation of it: without its last one "
                "the value of what it still had before it cannot be taken",
                slot.key,
            )
        slot.mask[:] = True

    def _see(self, slot: _Slot, observation: Any) -> None:
        try:
            slot.observe(observation)
        except Unfit as error:
            raise self.fault(str(error), slot.key) from error

    def _observe(self, observations: Any, infos: Any) -> None:
        """Write observations and masks of those that act next."""
        try:
            for slot in self._acting:
                key = slot.key
                slot.observe(observations[key])
                if slot.mask_in != "nowhere":
                    self._allow(slot, observations, infos)
                elif ACTION_MASK in (infos.get(key) or ()):
                    raise Unfit(
                        f"infos hold an '{ACTION_MASK}' for it now, and held none after the first "
                        "reset: give it always, or never"
                    )
        except KeyError as error:
            raise self.fault(
                "there is no observation of it: every agent in 'agents' needs one", key
            ) from error
        except Unfit as error:
            raise self.fault(str(error), key) from error

    def _allow(self, slot: _Slot, observations: Any, infos: Any) -> None:
        """Write the action mask of an agent that acts next."""
        holders = observations if slot.mask_in == "observation" else infos
        try:
            mask = holders[slot.key][ACTION_MASK]
        except (KeyError, TypeError) as error:
            raise Unfit(
                f"there is no '{ACTION_MASK}' in its {slot.mask_in}, where there was one after "
                "the first reset: give it always, or never"
            ) from error
        slot.put_mask(mask)

    def _read_state(self) -> None:
        if not self._states.size:
            return
        state = np.asarray(self._call(self.env.state)).ravel()
        if state.size != self._states.size:
            raise self.fault(
                f"state() gave {state.size} numbers, after the first reset {self._states.size}: "
                "expected one width, whoever is alive; or train without the environment's state"
            )
        self._states[:] = state

    def fault(self, what: str, agent: Any = None) -> TrainingError:
        """An error of this environment, with its place."""
        when = f"in step {self.steps}" if self.steps else "at the beginning"
        who = "" if agent is None else f"agent '{agent}': "
        return TrainingError(
            f"{who}{what} (environment row {self.number}, {when} of the episode that "
            f"reset(seed={self.seed}) begins)"
        )

    def save(self) -> Any:
        """The environment, as `restore` takes it.

        Raises:
            TrainingError: it cannot be saved.
        """
        try:
            return self._saver.save(self.env)
        except Unsaved as error:
            raise TrainingError(
                f"{type(self.env).__name__} cannot be saved to the bit: {error}; give it "
                "state_dict() and load_state(state), or keep in it only what can be pickled"
            ) from error

    def refresh(self, saved: Any) -> None:
        """After `save`, which gave `saved`: go on as fast as before it."""
        self.env = self._saver.refreshed(self.env, saved)

    def restore(self, saved: Any) -> Any:
        """The environment that `save` gave, not yet in place.

        Raises:
            TrainingError: it is of another make.
        """
        try:
            return self._saver.restore(self.env, saved)
        except Unsaved as error:
            raise TrainingError(
                f"environment row {self.number} cannot be restored: {error}; restore into "
                "environments of the same make"
            ) from error

    def resume(self, env: Any, steps: int, seed: int) -> None:
        """Go on with a restored environment; the arrays have been restored before."""
        self.env, self.steps, self.seed = env, steps, seed
        ends = self._terminations | self._truncations
        self._gone = [slot for slot in self._slots if ends[slot.index]]
        self._acting = []
        self._asked = []
        if self._alive.any():
            self._follow_agents()
            self._acting = [slot for slot in self._asked if self._alive[slot.index]]

    def close(self) -> None:
        """Close the environment, if it can be."""
        if callable(close := getattr(self.env, "close", None)):
            close()


def _slots(
    layout: TeamLayout,
    members: Sequence[Member],
    row: NDArray[np.float32],
    masks: NDArray[np.bool_],
) -> Any:
    """A slot per agent, in the layout's order."""
    index = 0
    for group, row_cut, mask_cut in zip(
        layout.groups, layout.row_slices, layout.mask_slices, strict=True
    ):
        seen = row[row_cut].reshape(len(group.agents), -1)
        allowed = masks[mask_cut].reshape(len(group.agents), -1)
        for own, mask in zip(seen, allowed, strict=True):
            yield _Slot(index, members[index], own, mask)
            index += 1

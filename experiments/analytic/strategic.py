"""`strategic_v0` over the book, on independent returns: its best policy, and its judge.

Shown the return of the bar after the execution bar, the best policy is that of backward
induction (`market.analytic.foresight`) under the environment's own choices, limits and the costs
that scripted trades measured; it is played in the environment by the same actions as trained
ones. Shown nothing, the best is to stay flat, which comes to nothing.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.strategic import StrategicConfig
from envs.strategic.kernel import METRICS
from experiments.analytic.charges import foresight_of, lattice_for, measure, places_of
from experiments.analytic.playing import HELD_OUT, Floats, Played, Share, play_strategic, share_of
from experiments.analytic.policies import Decides
from experiments.analytic.settings import Figure, StrategicJudgingConfig
from market.analytic.foresight import Foreseen, solve_foresight
from market.analytic.lattice import NONE, Lattice
from signals.layout import LayerLayout
from signals.strategic import NEXT_RETURN, strategic_layout

Rows = NDArray[np.float32]
RETURN, COSTS, TURNOVER = "return_bp", "costs_bp", "turnover"
_FORGETFUL, _BY_SIGN = "forgetful", "by_sign"


class Reading:
    """What the rules below read of rows: places on the lattice, what is shown, the bar."""

    def __init__(self, layout: LayerLayout, bars: int) -> None:
        place = {column.name: index for index, column in enumerate(layout.shared)}
        self._bars, self._left = bars, place["bars_left"]
        self._position, self._shown = place["position"], place[NEXT_RETURN.name]

    def places(self, rows: Rows) -> NDArray[np.int64]:
        return places_of(rows[:, self._position].astype(np.float64))

    def shown(self, rows: Rows) -> Floats:
        return rows[:, self._shown].astype(np.float64)

    def bar(self, rows: Rows) -> int:
        """The number of the decision, which is the same in all rows."""
        return self._bars - round(float(rows[0, self._left]) * self._bars)


class BestPolicy:
    """The policy of backward induction; it remembers what it was shown the decision before."""

    def __init__(self, solution: Foreseen, reading: Reading) -> None:
        self._solution, self._reading = solution, reading
        self._before = np.zeros(0)

    def act(self, rows: Rows) -> Rows:
        """Joint actions of episodes that run side by side."""
        problem, reading = self._solution.problem, self._reading
        bar, places, shown = reading.bar(rows), reading.places(rows), reading.shown(rows)
        if bar == 0:
            self._before = np.zeros(len(rows))
        if bar == problem.bars - 1:
            return staying(problem.lattice, places)
        slots = self._solution.slots(bar, places, self._before, shown)
        self._before = shown
        return problem.lattice.choices[places, slots]


class BySign:
    """As far as choices lead toward a full position on the side of what is shown."""

    def __init__(self, lattice: Lattice, reading: Reading) -> None:
        self._lattice, self._reading = lattice, reading

    def act(self, rows: Rows) -> Rows:
        lattice, places = self._lattice, self._reading.places(rows)
        after = lattice.successors[places]
        away = np.abs(lattice.positions[after] - np.sign(self._reading.shown(rows))[:, None])
        slots = np.where(after == NONE, np.inf, away).argmin(axis=1)
        return lattice.choices[places, slots]


def staying(lattice: Lattice, places: NDArray[np.int64]) -> Rows:
    """Joint actions that leave positions as they are."""
    slots = (lattice.successors[places] == places[:, None]).argmax(axis=1)
    return lattice.choices[places, slots]


class StrategicJudge:
    """The best policy and rules of `strategic_v0`, on the episodes that all actors play."""

    utility = RETURN

    def __init__(
        self, figure: Figure, config: StrategicConfig, judging: StrategicJudgingConfig
    ) -> None:
        self.figure, self.config, self.judging = figure, config, judging
        self._rules: dict[str, Played] = {}
        if figure == "share":
            lattice = self._lattice
            reading = Reading(strategic_layout(config.study), config.horizon_bars)
            self.optimum = self.play(BestPolicy(self.solution, reading))
            forgetful = BestPolicy(self.forgetful, reading)
            rules: dict[str, Decides] = {_FORGETFUL: forgetful, _BY_SIGN: BySign(lattice, reading)}
            self._rules = {name: self.play(rule) for name, rule in rules.items()}
        else:
            self.optimum = Played(np.zeros((judging.episodes, len(METRICS))), names=METRICS)

    @cached_property
    def _lattice(self) -> Lattice:
        return lattice_for(self.config)

    @cached_property
    def measured(self) -> Any:
        """The book's costs; see `charges.measure`."""
        return measure(self.config, self._lattice, self.judging.script_episodes, HELD_OUT)

    @cached_property
    def solution(self) -> Foreseen:
        """The best policy of all that was shown."""
        return solve_foresight(foresight_of(self.config, self._lattice, self.measured, HELD_OUT))

    @cached_property
    def forgetful(self) -> Foreseen:
        """The best one of position and what is shown now."""
        return solve_foresight(replace(self.solution.problem, during=0.0))

    @property
    def expected(self) -> float:
        """The optimum by backward induction, bp."""
        return self.solution.expected if self.figure == "share" else 0.0

    def play(self, policy: Decides) -> Played:
        told = self.judging
        return play_strategic(self.config, policy, told.episodes, told.seed, told.cluster_days)

    def judge(self, played: Played) -> Share:
        """The task's figure, with its interval."""
        if self.figure == "share":
            return self._ratio(played, played.of(RETURN), self.optimum.of(RETURN))
        return self._mean(played, TURNOVER)

    def rules(self) -> dict[str, float]:
        """The figures of simple rules."""
        return {name: self.judge(played).value for name, played in self._rules.items()}

    def details(self, played: Played) -> dict[str, Any]:
        """The return after costs and the costs, bp an episode; what was measured of the book."""
        found: dict[str, Any] = {name: asdict(self._mean(played, name)) for name in (RETURN, COSTS)}
        if self.figure != "share":
            return found
        problem = self.solution.problem
        found["best"] = {name: asdict(self._mean(self.optimum, name)) for name in (RETURN, COSTS)}
        found["best"][TURNOVER] = self.optimum.mean(TURNOVER)
        found["share_of_forgetful"] = asdict(
            self._ratio(played, played.of(RETURN), self._rules[_FORGETFUL].of(RETURN))
        )
        found["share_of_expected"] = played.mean(RETURN) / self.solution.expected
        found["expected_forgetful"] = self.forgetful.expected
        found["market"] = {"gain_bp": problem.gain, "deviation": problem.deviation}
        return found | {"book": self.measured.as_dict()}

    def _mean(self, played: Played, name: str) -> Share:
        values = played.of(name)
        return self._ratio(played, values, np.ones_like(values))

    def _ratio(self, played: Played, gained: Floats, possible: Floats) -> Share:
        told = self.judging
        return share_of(
            gained,
            possible,
            told.confidence,
            told.bootstrap_samples,
            told.seed,
            played.clusters,
        )

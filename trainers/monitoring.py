"""Watches a training: alarms on collapse, and the end of one that no longer improves."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from configs.errors import TrainingError
from configs.mappo import MappoConfig
from configs.monitoring import AlarmConfig, PatienceConfig
from policies.actor import Actor
from signals.layout import LayerLayout
from trainers.mappo.plan import ActorPlan, TeamPlan

SCORE = "validation_score"
ALARM = "alarm_"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """How a training is scored on its way.

    score: of the actors, on validation episodes. history: curves of earlier sittings, whose
    scores count on.
    """

    score: Callable[[Mapping[str, Actor]], float]
    lower_is_better: bool
    history: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True)
class _Choice:
    """What entropy there could be: of even choices, None with numbers among the actions."""

    most: float | None
    components: float  # of numbers, per agent


@dataclass
class Alarms:
    """Signs of collapse in the figures of an iteration."""

    config: AlarmConfig
    plan: TeamPlan
    _running: dict[str, int] = field(default_factory=dict)
    _first: dict[str, float] = field(default_factory=dict)

    def look(self, iteration: int, losses: Mapping[str, float]) -> dict[str, float]:
        """alarm_* of this iteration, 1 where it is raised; one line where it begins."""
        if not self.config.enabled:
            return {}
        raised: dict[str, float] = {}
        for name, why in self._signs(iteration, losses).items():
            count = self._running.get(name, 0) + 1 if why else 0
            self._running[name] = count
            raised[ALARM + name] = float(count >= self.config.iterations)
            if count == self.config.iterations:
                _log.warning("iteration %d: %s (%d iterations in a row)", iteration, why, count)
        return raised

    def _signs(self, iteration: int, losses: Mapping[str, float]) -> dict[str, str | None]:
        """Every sign by name: what is wrong, None where nothing is."""
        found: dict[str, str | None] = {}
        for actor in self.plan.actors:
            tail = "" if len(self.plan.actors) == 1 else f"/{actor.name}"
            if (entropy := losses.get(f"entropy{tail}")) is not None:
                found[f"entropy{tail}"] = self._entropy(actor, entropy)
            if (kl := losses.get(f"kl{tail}")) is not None:
                found[f"kl{tail}"] = self._kl(kl)
        if (explained := losses.get("explained_variance")) is not None:
            found["explained_variance"] = self._explained(iteration, explained)
        return found

    def _entropy(self, actor: ActorPlan, entropy: float) -> str | None:
        choice = _choice(actor)
        first = self._first.setdefault(actor.name, entropy)
        if choice.most is not None:
            floor = self.config.entropy_share * choice.most
        else:
            floor = first - self.config.entropy_drop * choice.components
        if entropy >= floor:
            return None
        return (
            f"entropy of '{actor.name}' has collapsed to {entropy:.3g} nats (began at "
            f"{first:.3g}): it hardly explores; raise mappo.entropy_coefficient or lower "
            "mappo.learning_rate"
        )

    def _kl(self, kl: float) -> str | None:
        if kl <= self.config.kl:
            return None
        return (
            f"updates move the policy by a KL of {kl:.3g}, more than {self.config.kl:g}: lower "
            "mappo.learning_rate or mappo.epochs, or set mappo.target_kl"
        )

    def _explained(self, iteration: int, explained: float) -> str | None:
        early = iteration <= self.config.warmup_iterations
        if early or explained >= self.config.explained_variance:
            return None
        return (
            f"the critic explains {explained:.3g} of the returns' variance, less than a constant "
            "would: raise mappo.critic_learning_rate, or look at the scale of rewards"
        )


def _choice(actor: ActorPlan) -> _Choice:
    """What an agent of the actor decides, mean over its agents."""
    layout = actor.layout
    if isinstance(layout, LayerLayout):
        widths = [a.encoded_width for a in layout.agents if a.kind == "discrete"]
        numbers = sum(a.encoded_width for a in layout.agents if a.kind != "discrete")
        agents = len(layout.agents)
    else:
        widths = [f.width for f in layout.factors if f.kind == "categorical"]
        numbers = sum(f.width for f in layout.factors if f.kind != "categorical")
        agents = 1  # they are alike
    if numbers:
        return _Choice(None, numbers / agents)
    return _Choice(sum(math.log(width) for width in widths) / agents, 0.0)


class Patience:
    """Ends a training whose validation score no longer improves."""

    def __init__(self, config: PatienceConfig, validation: Validation, iteration: int) -> None:
        """`iteration`: that the training goes on from; later rows of the history do not count."""
        self.config = config
        self.ended: str | None = None
        self._validation = validation
        self._best = math.inf
        self._since = 0
        for row in validation.history:
            if SCORE in row and row.get("iteration", math.inf) <= iteration:
                self._count(row[SCORE])

    def look(self, iteration: int, actors: Callable[[], Mapping[str, Actor]]) -> dict[str, float]:
        """The validation score where it is due.

        Raises:
            TrainingError: it is not finite.
        """
        if iteration % self.config.evaluate_every:
            return {}
        score = self._validation.score(actors())
        if not math.isfinite(score):
            raise TrainingError(
                f"the validation score of iteration {iteration} is {score}, expected a finite one"
            )
        self._count(score)
        return {SCORE: score}

    def _count(self, score: float) -> None:
        loss = score if self._validation.lower_is_better else -score
        if loss < self._best - self.config.least:
            self._best, self._since = loss, 0
        else:
            self._since += 1
        if self._since >= self.config.scores:
            best = self._best if self._validation.lower_is_better else -self._best
            self.ended = (
                f"no validation score in {self._since} has improved on {best:.4g} "
                "(mappo.stop.patience)"
            )


def patience_of(
    config: MappoConfig, validation: Validation | None, iteration: int
) -> Patience | None:
    """The patience asked for; None where none is.

    Raises:
        TrainingError: it is asked for where nothing can be scored.
    """
    told = config.stop.patience
    if told is None:
        return None
    if validation is None:
        raise TrainingError(
            "mappo.stop.patience is set, expected null: this training has no validation episodes "
            "to be scored on; those of the three layers have"
        )
    return Patience(told, validation, iteration)

"""Which members, and how often each: greedy forward selection with replacement.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models" (2004):
begin with the best one alone, then add whichever makes the ensemble best, a member again where
that does, until nothing makes it better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, isfinite

from configs.errors import TrainingError

Counts = tuple[int, ...]  # how often each member counts, 0 where it is left out
Score = Callable[[Sequence[Counts]], Sequence[float]]


@dataclass(frozen=True)
class Selection:
    """What was chosen, and all that was tried: scores by counts, in the order of trying."""

    counts: Counts
    tried: dict[Counts, float]

    @property
    def score(self) -> float:
        return self.tried[self.counts]


def lowest(counts: Sequence[int]) -> Counts:
    """The same shares by the smallest counts: (2, 0, 4) is (1, 0, 2)."""
    common = gcd(*counts)
    return tuple(count // common for count in counts)


def alone(members: int) -> list[Counts]:
    """Each member by itself."""
    return [tuple(int(k == number) for k in range(members)) for number in range(members)]


def greedy(members: int, score: Score, lower_is_better: bool, rounds: int) -> Selection:
    """Choose among `members`, adding one in each of at most `rounds`.

    score: of several ensembles at once, each once. What is no better than what there is
    already, to the last bit, is not added.

    Raises:
        TrainingError: a score is not finite.
    """
    tried: dict[Counts, float] = {}

    def loss(counts: Counts) -> float:
        return tried[lowest(counts)] if lower_is_better else -tried[lowest(counts)]

    def best(found: Sequence[Counts]) -> Counts:
        new = list(dict.fromkeys(c for c in map(lowest, found) if c not in tried))
        tried.update(zip(new, _finite(score(new), new), strict=True) if new else ())
        return min(found, key=loss)  # the first of equals

    chosen = best(alone(members))
    for _ in range(rounds):
        grown = best([_added(chosen, number) for number in range(members)])
        if loss(grown) >= loss(chosen):
            break
        chosen = grown
    return Selection(lowest(chosen), tried)


def _added(counts: Counts, number: int) -> Counts:
    return (*counts[:number], counts[number] + 1, *counts[number + 1 :])


def _finite(scores: Sequence[float], counts: Sequence[Counts]) -> Sequence[float]:
    for one, told in zip(scores, counts, strict=True):
        if not isfinite(one):
            raise TrainingError(
                f"the validation score of members counted {list(told)} times is {one}, expected a "
                "finite number"
            )
    return scores

"""A backtest of a layer that trades bar by bar: every bar of a split once, in order of time.

The split is covered by episodes that follow one another without a gap, all played side by
side in the environment that trained the policy. Each begins flat with a new account and ends
in liquidation, whose costs count; returns of its bars are chained in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.policy import OnnxPolicy
from configs.errors import TrainingError
from envs.barwise.batched import BatchedBars
from signals.bars.columns import POSTERIORS, REGIME_COLUMNS
from signals.said import SAID, strategic_said, tactical_said
from trainers.evaluate import EVALUATION_SEEDS, Actor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CLOSE = 3
SEEDS_APART = 1 << 32  # bars of one evaluation seed; seeds of the next begin after them
CALM_TO_WILD = ("calm", "usual", "wild")
_SAY: Mapping[str, Callable[..., Floats]] = {
    "strategic": strategic_said,
    "tactical": tactical_said,
}
_SELL, _BUY = SAID.index("sell"), SAID.index("buy")


@dataclass(frozen=True)
class Track:
    """What one policy did on every bar, [n] in order of time.

    Attributes:
        returns: of the account, fraction, net of all costs.
        positions: held after the bar, share of the limit.
        traded: share of the limit.
        costs, fees: fraction of the account; fees are part of costs.
        actions: float32 [n, action width].
        rising: P(up | up or down) that the policy's probabilities say; nan where they say nothing.
    """

    returns: Floats
    positions: Floats
    traded: Floats
    costs: Floats
    fees: Floats
    actions: NDArray[np.float32]
    rising: Floats


@dataclass(frozen=True)
class Bars:
    """The bars that were played, in order of time.

    Attributes:
        number: int64 [n], in the data set.
        day: int64 [n], since 1970 UTC.
        close: float64 [n], currency; moves: of the close, fraction.
        episode: int64 [n].
        regimes: name of a grouping -> label of each bar, [n], known before the bar.
        tracks: by policy.
        episodes: how many follow one another.
    """

    number: Ints
    day: Ints
    close: Floats
    moves: Floats
    episode: Ints
    regimes: dict[str, NDArray[np.str_]]
    tracks: dict[str, Track]
    episodes: int

    @property
    def days(self) -> Ints:
        """int64 [days], since 1970 UTC."""
        return np.unique(self.day)


def by_day(day: Ints, returns: Floats) -> Floats:
    """Returns of bars [n] as returns of days [days]; day: of each bar, rising."""
    _, first = np.unique(day, return_index=True)
    return np.asarray(np.multiply.reduceat(1.0 + returns, first) - 1.0)


def days_a_year(days: Ints) -> float:
    """How many days with bars a year has, by the days at hand, [days] rising."""
    span = float(days[-1] - days[0] + 1)
    return float(len(days)) / span * 365.25


def tiles(starts: Ints, horizon: int) -> Ints:
    """Starts of episodes that follow one another, earliest first, as many as fit.

    Args:
        starts: int64 [m], bars at whose close an episode may begin, rising.
        horizon: bars of an episode; from the close of bar s it plays s + 1 to s + horizon.
    """
    out, free = [], -1
    for start in np.sort(starts):
        if start >= free:
            out.append(int(start))
            free = int(start) + horizon
    return np.array(out, np.int64)


def play_bars(
    make_env: Callable[[int], BatchedBars],
    policies: Mapping[str, Actor],
    *,
    episodes: int | None = None,
    seed: int = 0,
    on_policy: Callable[[str], None] | None = None,
) -> Bars:
    """Play every policy over the split, all on the same chance.

    Args:
        make_env: `make_env(n)` gives n rows on the split.
        policies: name -> actor.
        episodes: the first so many of those that fit; all of them where None.
        seed: of the flow inside bars; the bars are what they are.
        on_policy: called with each name before it plays.

    Raises:
        TrainingError: an account's equity is lost or not finite, so that it has no return.
    """
    probe = make_env(1)
    horizon = int(probe.config.horizon_bars)  # type: ignore[attr-defined]
    starts = tiles(probe.arrays.starts, horizon)[:episodes]
    env = make_env(len(starts))
    # A bar's flow is the same for every policy, and whichever episodes are asked for.
    seeds = np.uint64(EVALUATION_SEEDS + seed * SEEDS_APART) + starts.astype(np.uint64)
    tracks = {}
    for name, actor in policies.items():
        if on_policy is not None:
            on_policy(name)
        tracks[name] = _track(env, actor, name, starts, seeds, horizon)
    number = (starts[:, None] + 1 + np.arange(horizon)).reshape(-1)
    tape = env.arrays.world.tape
    close = tape.ohlc[:, _CLOSE]
    return Bars(
        number=number,
        day=tape.day[number],
        close=close[number] * env.data.tape.tick,  # type: ignore[attr-defined]
        moves=close[number] / close[number - 1] - 1.0,
        episode=np.repeat(np.arange(len(starts)), horizon),
        regimes=_regimes(env, number),
        tracks=tracks,
        episodes=len(starts),
    )


def _track(
    env: BatchedBars, actor: Actor, name: str, starts: Ints, seeds: NDArray[np.uint64], horizon: int
) -> Track:
    env.begin_at(starts, seeds)
    actor.reset(env.num_envs)
    shape = (env.num_envs, horizon)
    found = {key: np.zeros(shape) for key in ("returns", "positions", "traded", "costs", "fees")}
    rising = np.full(shape, np.nan)
    actions = np.zeros((*shape, env.layout.action_width), np.float32)
    for bar in range(horizon):
        actions[:, bar], rising[:, bar] = _decided(env, actor)
        env.step(actions[:, bar])
        _book(env.arrays.accounts, found, bar)
    if not env.terminations.all():
        raise TrainingError(f"policy '{name}': episodes did not end after {horizon} bars")
    if not all(np.isfinite(values).all() for values in found.values()):
        raise TrainingError(
            f"policy '{name}' lost all of its equity in an episode, whose returns are then no "
            "numbers; lower env.account.leverage, and train again"
        )
    flat = {key: values.reshape(-1) for key, values in found.items()}
    return Track(**flat, actions=actions.reshape(-1, actions.shape[-1]), rising=rising.reshape(-1))


def _decided(env: BatchedBars, actor: Actor) -> tuple[NDArray[np.float32], Floats]:
    """Joint actions, and P(up | up or down) of a policy that has probabilities."""
    rows = env.rows.copy()
    if not isinstance(actor, OnnxPolicy):
        return actor.act(rows), np.full(len(rows), np.nan)
    told = actor.decide(rows)
    said = _SAY[env.layout.layer](rows, told.actions, told.probabilities, env.arrays.decision)
    up, down = said[:, _BUY], said[:, _SELL]
    either = up + down
    rising = np.divide(up, either, out=np.full(len(rows), np.nan), where=either > 0.0)
    return told.actions, rising


def _book(accounts: NDArray[Any], found: dict[str, Floats], bar: int) -> None:
    """Write down what a bar brought to every account."""
    before = accounts["before"]
    with np.errstate(divide="ignore", invalid="ignore"):
        found["returns"][:, bar] = np.where(before > 0.0, accounts["equity"] / before - 1.0, np.nan)
        found["costs"][:, bar] = accounts["costs"] / before
        found["fees"][:, bar] = accounts["fees"] / before
    found["positions"][:, bar] = accounts["position"] / accounts["limit"]
    found["traded"][:, bar] = accounts["turnover"]


def _regimes(env: BatchedBars, number: Ints) -> dict[str, NDArray[np.str_]]:
    """What was known before each bar: the volatility of past ranges, and the filtered regime."""
    tape = env.arrays.world.tape
    volatility = tape.sigma[number] / tape.ohlc[number - 1, _CLOSE]
    out = {"volatility": thirds(volatility)}
    if env.layout.layer == "strategic":
        names = [column.name for column in REGIME_COLUMNS]
        places = [names.index(column.name) for column in POSTERIORS]
        likely = env.arrays.regimes[number - 1][:, places].argmax(axis=1)
        out["regime"] = np.array([c.name.removeprefix("regime_") for c in POSTERIORS])[likely]
    return out


def thirds(values: Floats) -> NDArray[np.str_]:
    """Each value's third of all: calm, usual, wild."""
    low, high = np.quantile(values, [1.0 / 3.0, 2.0 / 3.0])
    return np.array(CALM_TO_WILD)[np.digitize(values, [low, high], right=True)]


def years_of(day: Ints) -> NDArray[np.str_]:
    """The calendar year of days since 1970."""
    return np.asarray(day.astype("datetime64[D]").astype("datetime64[Y]").astype(str))

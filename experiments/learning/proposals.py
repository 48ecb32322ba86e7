"""What execution agents propose, judged by the cascade's rules before anything mends it.

A proposal is the child orders of one step as `decode` makes them of the network's action. It is
a violation where the rules would refuse or cut any of them. The account has twice the parent
order's value for its equity, so that the parent as a whole passes, as the cascade's do before they
are worked; it holds what of the parent is filled, and has open what rests and is in flight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.cascade import CascadeConfig
from configs.execution import ExecutionConfig
from configs.risk import RiskConfig
from market.decode import CHILD, DECISION, decode, execution_rules
from market.kernels import kernel
from market.orders.layout import ORDER
from market.risk.children import orders_of_children
from market.risk.covariance import DAYS_A_YEAR
from market.risk.judge import send_all
from market.risk.layout import APPROVE, VERDICT, open_exposure, open_state, risk_limits
from market.risk.ledger import take_mark, value_account
from market.state import ACTIVE, OWN_QUANTITY
from trainers.evaluate import Actor

_EQUITY = 2.0  # over the value of the parent


@kernel
def _judge_rows(
    actions: Any, playing: Any, parents: Any, episodes: Any, depths: Any, owned: Any, rules: Any,
    accounts: Any, fresh: Any, limits: Any, states: Any, idle: Any, volume: float, tick: float,
    children: Any, cancels: Any, decisions: Any, orders: Any, verdicts: Any, counts: Any,
) -> None:  # fmt: skip
    """Add each playing row's proposal to `counts`: [proposals, violations]."""
    for n in range(len(actions)):
        if not playing[n]:
            continue
        parent, episode = parents[n], episodes[n]
        decode(
            actions[n], parent, episode, depths[n], owned[n], rules[0], children, cancels,
            decisions[0],
        )  # fmt: skip
        if decisions[0].children <= 0:
            continue
        price = (episode.base + episode.last_mid) * tick
        accounts[0], states[0] = fresh[0], idle[0]
        account, filled = accounts[0], parent.quantity - parent.remaining
        equity = _EQUITY * parent.quantity * price
        account.cash, account.peak = equity - parent.side * filled * price, equity
        account.position[0], account.volume[0] = parent.side * filled, volume
        opened = parent.resting + parent.in_flight
        for index in range(len(cancels)):
            if cancels[index] == 1 and owned[n, index, ACTIVE] == 1:
                opened -= owned[n, index, OWN_QUANTITY]
        if parent.side > 0:
            account.open_buys[0] = max(opened, 0)
        else:
            account.open_sells[0] = max(opened, 0)
        take_mark(account, limits[0], 0, 1.0, price)
        value_account(account)
        count = orders_of_children(
            children, decisions[0].children, parents[n : n + 1], episodes[n : n + 1], tick, 1.0, 0,
            orders,
        )  # fmt: skip
        send_all(orders, count, accounts, limits, states, verdicts)
        counts[0] += 1
        for index in range(count):
            if verdicts[index].action != APPROVE:
                counts[1] += 1
                break


class Judged:
    """Plays another actor's part and counts what of its proposals the rules would not let pass.

    Attributes:
        counts: int64 [2], proposals and violations.
    """

    def __init__(
        self, actor: Actor, config: ExecutionConfig, risk: RiskConfig | None = None
    ) -> None:
        """By the cascade's own rules where `risk` is None."""
        self._actor, self._config = actor, config
        risk = risk or CascadeConfig().risk
        prior = risk.var.prior_volatility**2 / DAYS_A_YEAR
        self._rules, self._limits = execution_rules(config), risk_limits(risk)
        self._fresh, self._idle = open_exposure(1.0, (1.0,), prior), open_state()
        self._account, self._state = self._fresh.copy(), self._idle.copy()
        most = config.child.max_children
        self._children, self._decision = np.zeros(most, CHILD), np.zeros(1, DECISION)
        self._orders, self._verdicts = np.zeros(most, ORDER), np.zeros(most, VERDICT)
        self._cancels = np.zeros(config.child.max_resting, np.int8)
        self.counts = np.zeros(2, np.int64)
        self._env: Any = None

    @property
    def share(self) -> float:
        """Violations among proposals; 0 where there was none."""
        proposals, violations = self.counts.tolist()
        return violations / proposals if proposals else 0.0

    def watch(self, env: Any) -> None:
        """See `trainers.evaluate.Watcher`."""
        self._env = env
        self._playing = np.ones(env.num_envs, np.bool_)

    def reset(self, num_envs: int) -> None:
        """Begin `num_envs` episodes."""
        self._actor.reset(num_envs)
        self._playing = np.ones(num_envs, np.bool_)

    def act(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the actor does."""
        actions = np.ascontiguousarray(self._actor.act(rows), np.float32)
        env, market = self._env, self._env.simulator.market
        # Of an episode that has ended the row begins the next one, which nobody counts.
        self._playing &= ~(env.terminations | env.truncations)
        volume = self._volume(market)
        _judge_rows(
            actions, self._playing, market.parents, market.episodes, market.depth, market.owned,
            self._rules, self._account, self._fresh, self._limits, self._state, self._idle,
            volume, self._config.market.tick, self._children, self._cancels, self._decision,
            self._orders, self._verdicts, self.counts,
        )  # fmt: skip
        return actions

    def _volume(self, market: Any) -> float:
        """Units that the market usually trades within a parent's horizon."""
        each = float(np.mean(market.episodes["step_volume"]))
        return each * self._config.parent.horizon_steps

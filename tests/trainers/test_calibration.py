"""What a policy states is held against what happens: which claims, which fit, which error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cascade.artefact import load_artefact
from cascade.policy import OnnxPolicy
from configs.actors import ActorConfig
from configs.encoders import RegimeConfig, StructureConfig
from configs.errors import DataError
from configs.evaluation import EvaluationConfig
from configs.loading import load_config
from configs.strategic import StrategicConfig
from configs.tactical import TacticalConfig
from configs.train import load_train_config
from envs.strategic import BatchedStrategic
from envs.tactical import BatchedTactical
from policies.calibration import expected_calibration_error
from policies.sequential import SequentialPolicy
from signals.bars.columns import POSTERIORS, REGIME_COLUMNS
from signals.execution import EXECUTION
from signals.expected_return import RETURN_MAP_FILE, read_return_map
from signals.said import strategic_said, tactical_said
from signals.strategic import STRATEGIC
from signals.superposition import BUY, HOLD, SELL, confidence
from signals.tactical import TACTICAL
from tests.cascade.artefacts import SMALL, write_artefact
from tests.trainers.updates import one_thread  # noqa: F401  a fixture, used by its name
from tests.trainers.upstreams import QUIET, SIGNALS, STRATEGIC_ENV, export_tactical
from trainers.bar_baselines import tactical_baselines
from trainers.calibration import LEAST_CLAIMS, calibrate, judge
from trainers.calibration_report import PLOT_FILE, REPORT_FILE, write_calibration
from trainers.graphs import TracedPolicy
from trainers.layers import LAYERS
from trainers.stated import Directions, Predictions, Regimes, Stated, hear, trade_cost

TOLD = EvaluationConfig(
    min_parents=4, max_parents=8, batch_size=4, bootstrap_samples=400, calibration_parents=4
)
ROWS, DAYS = 6_000, 60
COST = 0.001


def drawn(seed: int, temperature: float) -> Directions:
    """Directions that are right as often as p at `temperature` says, on days of equal length."""
    generator = np.random.default_rng(seed)
    p = generator.dirichlet([1.2, 0.8, 1.2], ROWS)
    chosen = p.argmax(1)
    right = generator.random(ROWS) < confidence(p, temperature)
    sides = np.choose(chosen, [-1.0, 0.0, 1.0])
    moves = np.where(right, 1.0, -1.0) * np.where(sides == 0.0, 1.0, sides) * 2.0 * COST
    return Directions(p, moves, np.repeat(np.arange(DAYS), ROWS // DAYS))


def test_a_direction_is_right_where_the_next_bar_pays_more_than_a_trade_costs() -> None:
    p = np.eye(3)[[SELL, BUY, BUY, HOLD, SELL, BUY]] * 0.4 + 0.2
    moves = np.array([-0.02, 0.02, 0.005, 0.3, 0.02, -0.02])
    found = Directions(p, moves, np.arange(6)).claims(0.01)
    assert found.of == 6 and found.days.tolist() == [0, 1, 2, 4, 5]  # HOLD states none
    assert found.right.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_what_scores_are_worth_is_fitted_on_one_split_and_judged_on_another(
    tmp_path: Path,
) -> None:
    """Moves of .01 times the score and noise as large again: half of their squares explained."""

    def made(seed: int) -> Directions:
        generator = np.random.default_rng(seed)
        p = generator.dirichlet([1.0, 1.0, 1.0], ROWS)
        worth = 0.01 * (p[:, BUY] - p[:, SELL])
        noise = worth.std() * generator.standard_normal(ROWS)
        return Directions(p, worth + noise, np.repeat(np.arange(DAYS), ROWS // DAYS))

    report = judge(Stated(4, made(1)), Stated(4, made(2)), COST, TOLD)
    found = report.returns
    assert found is not None
    assert found.explained.low < 0.5 < found.explained.high
    assert found.explained.low > 0.4
    assert found.map.of(0.5) == pytest.approx(0.005, abs=0.0005)
    (write,) = report.companions().values()
    write(tmp_path / RETURN_MAP_FILE)
    again = read_return_map(tmp_path / RETURN_MAP_FILE)
    assert np.array_equal(again.returns, found.map.returns)
    assert "expected return of the next bar" in report.lines()[-1]


def test_scores_that_say_nothing_explain_nothing() -> None:
    report = judge(Stated(4, drawn(1, 1e6)), Stated(4, drawn(2, 1e6)), COST, TOLD)
    assert report.returns is not None
    assert report.returns.explained.low < 0.02


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_of_one_split_mends_the_error_of_another(temperature: float) -> None:
    report = judge(Stated(4, drawn(1, temperature)), Stated(4, drawn(2, temperature)), COST, TOLD)
    (found,) = report.confidences
    assert found.temperature == pytest.approx(temperature, rel=0.15)
    assert found.change.high < 0.0 and found.after.value < 0.4 * found.before.value
    assert found.change.value == pytest.approx(found.after.value - found.before.value)
    assert found.before.low < found.before.value < found.before.high
    assert report.temperatures == {"direction": found.temperature} and report.cost == COST
    assert "smaller" in report.lines()[0] and "10.00 bp" in report.lines()[1]
    flat = report.metrics()
    assert flat["calibration/direction/error_after_high"] == found.after.high


def test_the_error_is_of_the_confidences_that_the_cascade_reads() -> None:
    validation, test = drawn(1, 2.0), drawn(2, 2.0)
    (found,) = judge(Stated(4, validation), Stated(4, test), COST, TOLD).confidences
    claims = test.claims(COST)
    for temperature, error in ((1.0, found.before), (found.temperature, found.after)):
        sure = torch.from_numpy(confidence(claims.p, temperature))
        expected = expected_calibration_error(sure, torch.from_numpy(claims.right))
        assert error.value == pytest.approx(expected, abs=1e-12)


def test_what_is_calibrated_already_is_not_said_to_be_mended() -> None:
    (found,) = judge(Stated(4, drawn(1, 1.0)), Stated(4, drawn(2, 1.0)), COST, TOLD).confidences
    assert found.temperature == pytest.approx(1.0, abs=0.1)
    assert found.change.low <= 0.0 <= found.change.high
    assert str(found).endswith("cannot be told from none")


def test_too_little_is_one_line_each_and_no_temperature(tmp_path: Path) -> None:
    few = drawn(1, 1.0)
    few = Directions(few.p[:40], few.moves[:40], few.days[:40])
    report = judge(Stated(4, few), Stated(4, drawn(2, 1.0)), COST, TOLD)
    assert not report.confidences and not report.temperatures
    line, returns = report.lines()
    assert "40 samples, expected 100 or more" in returns and report.returns is None
    assert f"40 decisions on the validation split took a side, expected {LEAST_CLAIMS}" in line
    one_day = drawn(2, 1.0)
    one_day = Directions(one_day.p, one_day.moves, np.zeros(ROWS, np.int64))
    lines = judge(Stated(4, drawn(1, 1.0)), Stated(4, one_day), COST, TOLD).lines()
    assert len(lines) == 2 and all("begin on one day" in line for line in lines)
    assert [path.name for path in write_calibration(report, tmp_path)] == [REPORT_FILE]
    assert json.loads((tmp_path / REPORT_FILE).read_text())["missing"] == report.lines()


def test_regimes_and_numbers_are_judged_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    days = np.repeat(np.arange(DAYS), ROWS // DAYS)

    def regimes() -> Regimes:
        p = generator.dirichlet(np.full(4, 0.7), ROWS)
        softer = p**0.5 / (p**0.5).sum(1, keepdims=True)
        return Regimes(p, 0.9 * softer + 0.1 * generator.dirichlet(np.ones(4), ROWS), days)

    said = generator.random(ROWS)
    came = np.clip(said + 0.1 * generator.standard_normal(ROWS), 0.0, 1.0)
    test = Stated(4, None, regimes(), Predictions(said, came, days))
    report = judge(Stated(4, None, regimes()), test, None, TOLD)
    (regime,), (number,) = report.confidences, report.numbers
    # Truth is a posterior: softer than what was said, and softer still by its noise.
    assert regime.temperature == pytest.approx(2.2, rel=0.1) and regime.change.high < 0.0
    assert 0.4 < regime.right < 0.6
    expected = 1.0 - ((came - said) ** 2).sum() / ((came - came.mean()) ** 2).sum()
    assert number.explained.value == pytest.approx(expected)
    assert number.explained.low < expected < number.explained.high < 1.0
    assert number.error.value < 0.03
    assert [path.name for path in write_calibration(report, tmp_path)] == [REPORT_FILE, PLOT_FILE]
    told = json.loads((tmp_path / REPORT_FILE).read_text())
    assert sum(told["numbers"][0]["stated"]["rows"]) == ROWS
    assert told["confidences"][0]["after"]["value"] == regime.after.value


def tactical_config() -> TacticalConfig:
    return load_config(
        TacticalConfig,
        {
            "horizon_bars": 6,
            "slices": 2,
            "series": {"bars": 3_000},
            "signals": SIGNALS,
            "market": QUIET,
        },
    )


def policy_of(layout: Any) -> SequentialPolicy:
    return SequentialPolicy(layout, ActorConfig(hidden=(8,), output_gain=3.0), seed=1)


class Rise:
    """What an actor's rows lead to, worked out apart from `hear`: by the account's marks."""

    def __init__(self, env: BatchedTactical, policy: SequentialPolicy) -> None:
        self.env, self.policy = env, policy
        self.moves: list[NDArray[np.float64]] = []
        self.p: list[NDArray[np.float64]] = []

    def play(self, seeds: NDArray[np.uint64], steps: int) -> None:
        self.env.reset(seeds=seeds)
        traced = TracedPolicy(self.policy)
        for _ in range(steps):
            marks = self.env.arrays.accounts["mark"].copy()
            with torch.no_grad():
                told = traced.outputs(torch.from_numpy(self.env.rows))
                actions = self.policy.act(torch.from_numpy(self.env.rows), None).actions.numpy()
            said = tactical_said(
                self.env.rows, actions, told["probabilities"].numpy(), self.env.arrays.decision
            )
            self.p.append(said[:, :3])
            self.env.step(actions)
            self.moves.append(self.env.arrays.accounts["mark"] / marks - 1.0)


def test_what_is_heard_of_an_environment_is_what_happens_in_it() -> None:
    config, policy = tactical_config(), policy_of(TACTICAL)
    env = BatchedTactical(config, 4, split="test")
    found = hear(env, TracedPolicy(policy), TOLD, tactical_said)
    assert found.episodes == 4 and found.regimes is None and found.predictions is None
    assert found.directions is not None and len(found.directions.p) == 4 * 6
    apart = Rise(BatchedTactical(config, 4, split="test"), policy)
    apart.play(np.uint64(1 << 60) + np.arange(4, dtype=np.uint64), 6)
    np.testing.assert_allclose(found.directions.moves, np.concatenate(apart.moves), atol=1e-12)
    np.testing.assert_allclose(found.directions.p, np.concatenate(apart.p), atol=1e-6)
    assert found.directions.moves.std() > 0.0


def test_what_a_trade_costs_is_what_the_rule_paid_over_what_it_traded() -> None:
    env, rules = BatchedTactical(tactical_config(), 4, split="validation"), tactical_baselines()
    found = trade_cost(env, rules["market_at_open"], TOLD)
    assert 0.0 < found < 0.01
    # The accounts of the whole episodes say the same, the mark of each trade aside.
    accounts = env.arrays.accounts
    traded = (accounts["all_turnover"] * accounts["limit"] * accounts["mark"]).sum()
    assert found == pytest.approx(accounts["all_costs"].sum() / traded, rel=0.02)
    with pytest.raises(DataError, match="the reference rule traded nothing"):
        trade_cost(env, rules["flat"], TOLD)


def test_a_regime_is_held_against_the_posterior_of_the_bar_that_it_was_said_of() -> None:
    config = load_config(StrategicConfig, STRATEGIC_ENV)
    encoders = (StructureConfig(), RegimeConfig())
    policy = SequentialPolicy(STRATEGIC, ActorConfig(hidden=(8,), encoders=encoders), seed=1)
    env = BatchedStrategic(config, 4, split="test")
    found = hear(env, TracedPolicy(policy), TOLD, strategic_said).regimes
    assert found is not None and len(found.p) == 4 * config.horizon_bars
    names = [column.name for column in REGIME_COLUMNS]
    columns = [names.index(posterior.name) for posterior in POSTERIORS]
    # All episodes are over: the bars that were played last are still in their places.
    last = env.arrays.world.places["bar"] - 1
    np.testing.assert_array_equal(found.came[-4:], env.data.regimes.values[last][:, columns])
    first = found.came.reshape(config.horizon_bars, 4, -1)[0]
    start = last - config.horizon_bars + 1
    np.testing.assert_array_equal(first, env.data.regimes.values[start][:, columns])
    env.reset(seeds=np.uint64(1 << 60) + np.arange(4, dtype=np.uint64))
    with torch.no_grad():
        stated = TracedPolicy(policy).outputs(torch.from_numpy(env.rows))["regimes"]
    np.testing.assert_allclose(found.p[:4], stated.double().numpy())


def test_an_untrained_layer_gets_a_report_and_no_test_bar_is_fitted_on() -> None:
    training = load_train_config("tactical", ("mlp",), (), (), 0)
    training = training.model_copy(update={"env": tactical_config(), "evaluation": TOLD})
    report = calibrate(LAYERS["tactical"], policy_of(TACTICAL), training, training.env)
    side, samples = report.lines()
    assert "took a side, expected 100" in side and not report.confidences
    assert "expected 100 or more" in samples and not report.companions()
    series = training.env.series.model_copy(update={"validation_share": 0.0})
    env = training.env.model_copy(update={"series": series})
    (line,) = calibrate(LAYERS["tactical"], policy_of(TACTICAL), training, env).lines()
    assert "not measured" in line and "there is no validation split" in line


def test_the_monitors_predictions_are_held_against_the_steps_quality() -> None:
    training = load_train_config("execution", (), (), ["env.parent.horizon_steps=5"], 0)
    training = training.model_copy(update={"evaluation": TOLD})
    report = calibrate(LAYERS["execution"], policy_of(EXECUTION), training, training.env)
    (number,) = report.numbers
    assert number.what == "quality" and 4 <= number.rows <= 20
    assert 0.0 <= number.error.low <= number.error.value
    assert "R2" in report.lines()[0] and report.temperatures == {}


def test_a_temperature_changes_what_the_artefact_says_of_its_confidence_alone(
    tmp_path: Path,
) -> None:
    export_tactical(tmp_path / "cooled", temperatures={"direction": 2.5})
    policy = OnnxPolicy(load_artefact(tmp_path / "cooled", TACTICAL))
    assert policy.temperature == 2.5
    env = BatchedTactical(tactical_config(), 4)
    env.reset()
    told, rules = policy.decide(env.rows), env.arrays.decision
    plain = tactical_said(env.rows, told.actions, told.probabilities, rules)
    cooled = tactical_said(
        env.rows, told.actions, told.probabilities, rules, temperature=policy.temperature
    )
    kept = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(cooled[:, kept], plain[:, kept])
    np.testing.assert_array_equal(cooled[:, 3], confidence(plain[:, :3], 2.5))
    assert (cooled[:, 3] < plain[:, 3]).all()


def test_an_artefact_without_temperatures_is_read_as_it_stands(tmp_path: Path) -> None:
    write_artefact(tmp_path / "old")
    policy = OnnxPolicy(load_artefact(tmp_path / "old", SMALL))
    assert policy.temperature == 1.0
    assert "temperatures" not in json.loads((tmp_path / "old" / "manifest.json").read_text())

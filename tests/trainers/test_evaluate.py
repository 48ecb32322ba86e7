"""Evaluation on a toy environment whose costs are known."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from configs.errors import ConfigError, TrainingError
from configs.evaluation import EvaluationConfig
from tests.trainers.paired_env import Constant, PairedEnv
from trainers import report as reports
from trainers.evaluate import EVALUATION_SEEDS, EvaluationReport, evaluate
from trainers.objective import RETURN, SHORTFALL

CONFIG = EvaluationConfig(
    min_parents=200, max_parents=400, batch_size=50, bootstrap_samples=200, half_width_share=0.5
)


def play(config: EvaluationConfig = CONFIG, hinted: float = 0.05) -> EvaluationReport:
    policies = {"policy": Constant(0.2, hinted), "twap": Constant(0.5), "ac": Constant(0.4)}
    return evaluate(PairedEnv, policies, config)


def test_it_measures_the_known_costs_and_names_the_best_baseline() -> None:
    report = play()
    # Both sides of a path carry opposite noise, so means are exact.
    assert report.summaries["twap"].cost.mean == pytest.approx(0.5, abs=1e-6)
    assert report.against("twap").mean_difference == pytest.approx(-0.3, abs=1e-6)
    assert report.best_baseline == "ac" and report.beats_baseline
    assert "beats the best baseline, 'ac'" in report.verdict
    assert report.summaries["policy"].metrics["filled_before_cross"] == 0.5
    assert report.against("twap").correlation > 0.99


# The toy's costs read as gains: what is dearer is better.
GAIN = replace(RETURN, metric="shortfall_bp", figures=())


def gains(**means: float) -> EvaluationReport:
    policies = {
        name: Constant(mean, 0.05 if name == "policy" else 0.0) for name, mean in means.items()
    }
    return evaluate(PairedEnv, policies, CONFIG, objective=GAIN)


def test_of_a_return_more_is_better() -> None:
    report = gains(policy=0.5, hold=0.4, flat=0.0)
    assert report.best_baseline == "hold" and report.beats_baseline
    assert report.against("hold").mean_difference == pytest.approx(0.1, abs=1e-6)
    assert "beats the best baseline, 'hold': difference +0.100 bp" in report.verdict
    assert report.verdict.endswith(f"{report.parents} episodes.")
    worse = gains(policy=0.2, hold=0.4, flat=0.0)
    assert not worse.beats_baseline and "is worse than the best baseline, 'hold'" in worse.verdict
    fields = report.as_dict()
    assert fields["objective"] == "shortfall_bp"
    assert fields["policies"]["hold"]["return"]["mean"] == pytest.approx(0.4, abs=1e-6)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(*reports.tables(report))
    text = console.export_text()
    assert text.index("policy <-") < text.index("hold ") < text.index("flat ")


def test_widths_of_returns_are_shares_of_the_deviation_between_episodes() -> None:
    """No mean is needed: a reference that earns nothing on average is a scale too."""
    values = np.array([-3.0, 3.0, -3.0, 3.0])
    assert GAIN.width_unit(values) == pytest.approx(3.0)
    assert SHORTFALL.width_unit(values) == 0.0
    policies = {"policy": Constant(0.2, 0.3), "flat": Constant(0.0)}
    narrow = CONFIG.model_copy(update={"half_width_share": 1e-9})
    assert evaluate(PairedEnv, policies, CONFIG, objective=GAIN).precise
    assert not evaluate(PairedEnv, policies, narrow, objective=GAIN).precise


def test_episodes_of_neighbouring_days_are_drawn_together() -> None:
    """Widths grow where episodes share days, which single days hide."""

    def clusters(days: int) -> int:
        told = CONFIG.model_copy(update={"cluster_days": days})
        return (
            evaluate(PairedEnv, {"policy": Constant(0.2), "twap": Constant(0.5)}, told)
            .against("twap")
            .clusters
        )

    assert clusters(1) > clusters(4) > 1


def test_every_policy_plays_the_same_parents_once_and_batches_are_new() -> None:
    envs: list[PairedEnv] = []

    def make(n: int) -> PairedEnv:
        envs.append(PairedEnv(n))
        return envs[0]

    actors = {"policy": Constant(0.2), "twap": Constant(0.5)}
    report = evaluate(make, actors, CONFIG)
    seen = envs[0].seen
    assert len(envs) == 1 and len(seen) == 2 * report.parents // CONFIG.batch_size
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        np.testing.assert_array_equal(first, second)
    every = np.concatenate(seen[::2])
    assert len(np.unique(every)) == report.parents and every.min() >= EVALUATION_SEEDS
    assert actors["twap"].resets == [CONFIG.batch_size] * (len(seen) // 2)
    # Three to six steps by path: each counted once, none after its end.
    lengths = 3 + (every // np.uint64(2)) % np.uint64(4)
    assert report.steps == 2 * int(lengths.sum())


def test_it_stops_at_its_precision_and_not_before_its_minimum() -> None:
    assert (play().parents, play().precise) == (CONFIG.min_parents, True)
    strict = CONFIG.model_copy(update={"half_width_share": 1e-9})
    report = play(strict, hinted=0.3)
    assert (report.parents, report.precise) == (CONFIG.max_parents, False)
    assert any("wider than asked for" in line for line in reports.lines(report))


def test_the_bar_is_the_cheapest_twap() -> None:
    """A baseline of no cost sets the bar only where it is the reference."""
    policies = {"policy": Constant(0.2, 0.1), "twap": Constant(0.5), "free": Constant(0.0)}
    assert evaluate(PairedEnv, policies, CONFIG).precise
    assert not evaluate(PairedEnv, policies, CONFIG, reference=["free"]).precise


def test_the_same_seed_gives_the_same_report_and_another_another() -> None:
    def figures(seed: int) -> dict[str, object]:
        fields = play(CONFIG.model_copy(update={"seed": seed})).as_dict()
        del fields["seconds"]
        return fields

    assert figures(3) == figures(3) != figures(4)


def test_it_says_so_where_the_candidate_is_worse_or_equal() -> None:
    worse = evaluate(PairedEnv, {"policy": Constant(0.9), "twap": Constant(0.5)}, CONFIG)
    assert not worse.beats_baseline and "is worse than" in worse.verdict
    equal = evaluate(PairedEnv, {"policy": Constant(0.5), "twap": Constant(0.5)}, CONFIG)
    assert not equal.beats_baseline and "cannot be told apart" in equal.verdict


def test_a_champion_is_compared_without_being_a_baseline() -> None:
    policies = {"policy": Constant(0.3), "twap": Constant(0.5), "champion": Constant(0.1)}
    report = evaluate(PairedEnv, policies, CONFIG, baselines=["twap"])
    assert report.best_baseline == "twap" and report.beats_baseline
    assert report.against("champion").above_zero


def test_wrong_names_are_refused() -> None:
    policies = {"policy": Constant(0.3), "twap": Constant(0.5)}
    with pytest.raises(ConfigError, match="did you mean 'twap'"):
        evaluate(PairedEnv, policies, CONFIG, baselines=["tvap"])
    with pytest.raises(ConfigError, match="at least one other"):
        evaluate(PairedEnv, {"policy": Constant(0.1)}, CONFIG)
    with pytest.raises(ConfigError, match="no comparison with 'twpa'"):
        evaluate(PairedEnv, policies, CONFIG).against("twpa")


def test_a_metric_that_is_not_finite_is_named_with_its_seed() -> None:
    def make(n: int) -> PairedEnv:
        env = PairedEnv(n)
        env.spoilt_seed = EVALUATION_SEEDS + 7
        return env

    with pytest.raises(
        TrainingError, match=f"'shortfall_bp' .* seed {EVALUATION_SEEDS + 7} is nan"
    ):
        evaluate(make, {"policy": Constant(0.3), "twap": Constant(0.5)}, CONFIG)


def test_an_episode_that_does_not_end_is_an_error() -> None:
    short = CONFIG.model_copy(update={"max_steps": 4})
    with pytest.raises(TrainingError, match="did not end within 4 steps"):
        play(short)


def test_configurations_that_cannot_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="must be even"):
        EvaluationConfig(batch_size=3)
    with pytest.raises(ValueError, match="at least min_parents"):
        EvaluationConfig(min_parents=10, max_parents=9)


def test_the_report_is_written_and_printed(tmp_path: Path) -> None:
    policies = {
        "policy": Constant(0.2, 0.05),
        "twap": Constant(0.5),
        "almgren_chriss_passive": Constant(0.4),
    }
    report = evaluate(PairedEnv, policies, CONFIG)
    files = reports.write(report, tmp_path / "out")
    names = {path.name for path in files}
    figures = {"shortfall.png", "paired.png"}
    assert names == {"evaluation.json", "evaluation.txt", "samples.npz", *figures}
    said = (tmp_path / "out" / "evaluation.txt").read_text()
    assert "policy <-" in said and said.rstrip().endswith(reports.lines(report)[-1])
    assert {p.name for p in (tmp_path / "out").iterdir()} == names  # no temporary file is left
    fields = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert fields["paired"]["twap"]["mean_difference"] == pytest.approx(-0.3, abs=1e-6)
    samples = np.load(tmp_path / "out" / "samples.npz")
    assert samples["policy/shortfall_bp"].shape == samples["seeds"].shape == (report.parents,)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*reports.tables(report))
    text = console.export_text()
    # The cheapest comes first and the candidate is marked.
    assert text.index("policy <-") < text.index("almgren_chriss_passive ") < text.index("twap ")
    assert "-0.300" in text and "50.0%" in text and "…" not in text


def test_curves_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    history = [{"steps": 1.0, "return": 2.0}, {"steps": 2.0}, {"steps": 3.0, "return": 1.0}]
    figure = reports.curves(history, "steps", ["return", "absent"])
    assert len(figure.axes) == 1
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [1.0, 3.0])
    assert reports.save_figure(figure, tmp_path / "c.png").stat().st_size > 1_000

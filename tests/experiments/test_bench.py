"""The form of what benchmarks report, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import EXIT_CODE, GrandmodelError
from experiments.bench.__main__ import BENCHES, Bench, main
from experiments.bench.book import BookSizes
from experiments.bench.book import figures as book_figures
from experiments.bench.report import Figure, cost_ratio, speed
from experiments.streams import message_stream
from market.replay import CANCEL, ID, KIND, LIMIT, MARKET, PRICE

FIELDS = ["name", "value", "unit", "reference", "reference_value", "ratio", "target", "met"]
TINY_BOOK = BookSizes(
    messages=3000,
    repeats=2,
    reference_repeats=1,
    books=3,
    visits=2,
    visit_messages=64,
    batch_repeats=1,
    short=200,
    long=2000,
    growth_repeats=1,
)


def tiny_book() -> list[Figure]:
    return book_figures(TINY_BOOK)


def tiny_envs() -> list[Figure]:
    pytest.importorskip("pettingzoo", reason="the environments need the `train` extra")
    from experiments.bench.envs import EnvSizes, figures
    from experiments.bench.layers import LayerSizes

    return figures(
        EnvSizes(
            steps=90,
            repeats=1,
            batch=3,
            batch_steps=5,
            reference_messages=500,
            layers=LayerSizes(steps=70, repeats=1, bars=3000),
        )
    )


def tiny_signals() -> list[Figure]:
    from experiments.bench.signals import SignalSizes, figures

    return figures(SignalSizes(bars=1200, repeats=1, reference_bars=2, updates=40, warm_up=700))


def tiny_cascade() -> list[Figure]:
    from experiments.bench.cascade import _TIMED, CascadeSizes, figures

    small = replace(_TIMED[0], told=("mappo.policy.hidden=[4]",))
    return figures(CascadeSizes(rounds=2, calls=3, eager_calls=2, lead=1, timed=(small,)))


def printed(capsys: pytest.CaptureFixture[str], name: str, bench: Bench) -> dict[str, Any]:
    assert main([name, "--json"], {name: bench}) == 0
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return out


@pytest.mark.parametrize(
    ("name", "bench", "figures"),
    [
        (
            "book",
            tiny_book,
            [
                "replay_messages_per_s",
                "replay_equal",
                "batch512_cost_ratio",
                "cost_growth_1e4_1e7",
            ],
        ),
        (
            "envs",
            tiny_envs,
            [
                "execution_steps_per_s_100msg_per_step",
                "execution_batched3_steps_per_s",
                "execution_messages_per_step",
                "execution_step_without_messages_us",
                "tactical_steps_per_s_1msg_per_s",
                "tactical_messages_per_step",
                "strategic_steps_per_s_1msg_per_s",
                "strategic_messages_per_step",
            ],
        ),
        (
            "signals",
            tiny_signals,
            [
                "matrices_seconds_56k",
                "update_us",
                "update_p50_us",
                "update_session_open_us",
                "fvg_ratio_pandas",
                "fvg_equal_pandas",
            ],
        ),
        (
            "cascade",
            tiny_cascade,
            ["execution_chain_p50_us", "execution_chain_p99_us", "execution_chain_ratio_torch"],
        ),
    ],
)
def test_the_json_has_the_form_of_the_design(
    capsys: pytest.CaptureFixture[str], name: str, bench: Bench, figures: list[str]
) -> None:
    out = printed(capsys, name, bench)
    assert list(out) == ["bench", "machine", "commit", "figures"]
    assert out["bench"] == name
    assert out["machine"]["cores"] >= 1 and out["machine"]["cpu"]
    assert isinstance(out["commit"], str) and out["commit"]
    assert [figure["name"] for figure in out["figures"]] == figures
    for figure in out["figures"]:
        assert list(figure) == FIELDS
        assert math.isfinite(figure["value"]) and figure["value"] > 0
        assert (figure["met"] is None) == (figure["target"] is None)
        assert (figure["ratio"] is None) == (figure["reference_value"] is None)


@pytest.mark.slow
def test_the_whole_cascade_is_timed_and_its_memory_watched() -> None:
    from experiments.bench.cascade_layers import EngineSizes, figures

    found = figures(EngineSizes(hot=40, full=1, memory_steps=100))
    times = {figure.name: figure.value for figure in found}
    assert list(times) == [
        "hot_p50_us", "hot_p99_us", "warm_p50_us", "warm_p99_us", "full_p50_us", "full_p99_us",
        "memory_growth_100_hot_mib",
    ]  # fmt: skip
    assert 0.0 < times["hot_p50_us"] < times["warm_p50_us"] < times["full_p99_us"]
    assert found[0].ratio is not None and found[0].ratio > 1.0


def test_the_book_is_compared_with_the_reference_for_equality(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = {figure["name"]: figure for figure in printed(capsys, "book", tiny_book)["figures"]}
    assert figures["replay_equal"]["value"] == 1.0
    assert figures["replay_equal"]["met"] is True
    speed_row = figures["replay_messages_per_s"]
    assert speed_row["target"] == 60.0
    assert speed_row["ratio"] == pytest.approx(speed_row["value"] / speed_row["reference_value"])


def test_gaps_are_compared_with_pandas_for_equality() -> None:
    figures = {figure.name: figure for figure in tiny_signals()}
    assert figures["fvg_equal_pandas"].met is True
    assert figures["matrices_seconds_56k"].ratio > 1.0


def test_gaps_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.bench import signals

    right = signals.fair_value_gaps
    monkeypatch.setattr(signals, "fair_value_gaps", lambda *given: right(*given) + 1.0)
    figures = {figure.name: figure for figure in tiny_signals()}
    assert figures["fvg_equal_pandas"].met is False


def test_a_wrong_replay_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.bench import book

    monkeypatch.setattr(book.ReferenceBook, "resting", lambda self: [])
    figures = {figure.name: figure for figure in tiny_book()}
    assert figures["replay_equal"].value == 0.0
    assert figures["replay_equal"].met is False


def test_about_a_hundred_messages_a_step() -> None:
    """Over many paths; the few of a small benchmark are as busy as they happen to be."""
    from envs.execution import make_batched
    from trainers.baselines import neutral_action

    figures = {figure.name: figure for figure in tiny_envs()}
    assert figures["execution_messages_per_step"].value > 0
    env = make_batched(512, seed=3)
    env.reset()
    arrivals = env.simulator.market.episodes["arrivals"]
    before, steps = arrivals.copy(), 40
    for _ in range(steps):
        env.step(neutral_action(512))
    running = ~env.terminations
    assert running.sum() > 400
    assert np.mean((arrivals - before)[running]) / steps == pytest.approx(100.0, abs=8.0)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (speed("s", 60.0, "x", "r", 2.0, target=30.0), True),
        (speed("s", 59.0, "x", "r", 2.0, target=30.0), False),
        (speed("s", 59.0, "x", "r", 2.0), None),
        (cost_ratio("c", 26.0, "r", 20.0, target=1.3), True),
        (cost_ratio("c", 27.0, "r", 20.0, target=1.3), False),
        (Figure("f", 1.0, "x", target=1.0), True),
        (Figure("f", 9.0, "x", "r", 3.0, 3.0, target=8.0, of_value=True), True),
        (Figure("f", 9.0, "x", "r", 0.9, 10.0, target=9.5, of_value=True), False),
        (Figure("f", 0.0, "x", target=1.0), False),
    ],
)
def test_met_compares_the_ratio_else_the_value(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["book"], {"book": tiny_book}) == 0
    out = capsys.readouterr().out
    for name in ("replay_messages_per_s", "replay_equal", "Python book: ", ">= 60", "<= 1.3"):
        assert name in out


def test_an_unknown_name_is_one_error_that_lists_the_right_ones(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.bench", "boook", "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == EXIT_CODE == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "'boook'" in done.stderr and "Traceback" not in done.stderr
    for name in BENCHES:
        assert name in done.stderr


def test_an_error_of_the_project_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> list[Figure]:
        raise GrandmodelError("no ladder")

    assert main(["book"], {"book": broken}) == EXIT_CODE
    assert capsys.readouterr().err == "error: no ladder\n"


def test_actions_are_valid_and_never_stop() -> None:
    pytest.importorskip("pettingzoo", reason="the environments need the `train` extra")
    from envs import execution_v1
    from experiments.bench.envs import _as_dicts, joint_actions

    env = execution_v1.parallel_env()
    joint = joint_actions(200, seed=3)
    assert np.array_equal(joint, joint_actions(200, seed=3))
    chosen = set()
    for actions in _as_dicts(joint):
        for agent, action in actions.items():
            assert env.action_space(agent).contains(action)
        chosen.add(actions["risk_control"])
    assert chosen == {0, 1, 2, 3}


def test_the_stream_has_the_mix_that_its_name_promises() -> None:
    rows = message_stream(40_000, seed=1)
    assert np.array_equal(rows, message_stream(40_000, seed=1))
    shares = [float((rows[:, KIND] == kind).mean()) for kind in (LIMIT, CANCEL, MARKET)]
    assert shares == pytest.approx([0.51, 0.39, 0.10], abs=0.03)
    assert rows[:, PRICE].min() >= 0 and rows[:, PRICE].max() < 1024
    new = rows[:, KIND] == LIMIT
    assert (rows[new, ID] == np.flatnonzero(new)).all()

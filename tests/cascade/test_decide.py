"""Decisions equal the environment's: the same rows, the same orders, no torch in sight."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from cascade.artefact import load_artefact
from cascade.book_state import BookState
from cascade.commands import DecideRequest, run_decide
from cascade.decide import ExecutionDecision, decide, name_decisions, orders_of, played_view
from cascade.policy import OnnxPolicy
from cascade.registry import mirror
from cascade.view import view_of_book, view_of_simulator
from configs.errors import ArtefactError, ConfigError, RegistryError
from configs.execution import ExecutionConfig
from envs.execution import make_batched
from market.decode import URGENCY, URGENCY_SHIFT
from signals.execution import EXECUTION
from tests.cascade.artefacts import write_artefact
from tests.cascade.test_book_state import example

CONFIG = ExecutionConfig()
WIDTH = EXECUTION.action_width
PROBABILITIES = 5
ROOT = Path(__file__).resolve().parents[2]


def constant_model(action: NDArray[np.float32]) -> bytes:
    """A policy that always decides `action`, as an ONNX graph that still reads the row."""
    nodes = [
        helper.make_node("MatMul", ["rows", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "action"], ["actions"]),
        helper.make_node("MatMul", ["rows", "flat"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    rows = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", EXECUTION.row_width])]
    outputs = [
        helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["n", WIDTH]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", PROBABILITIES]),
    ]
    weights = [
        numpy_helper.from_array(np.zeros((EXECUTION.row_width, WIDTH), np.float32), "zero"),
        numpy_helper.from_array(action, "action"),
        numpy_helper.from_array(np.zeros((EXECUTION.row_width, PROBABILITIES), np.float32), "flat"),
    ]
    graph = helper.make_graph(nodes, "constant", rows, outputs, weights)
    opsets = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def random_action(seed: int, decision: int = 0) -> NDArray[np.float32]:
    action = np.random.default_rng(seed).uniform(0.1, 0.9, WIDTH).astype(np.float32)
    action[EXECUTION.action_slice(3)] = decision
    return action


def artefact(folder: Path, action: NDArray[np.float32], **changed: Any) -> Path:
    fields = {"config": {"env": CONFIG.model_dump(mode="json")}, **changed}
    return write_artefact(folder, EXECUTION, constant_model(action), **fields)


def policy(folder: Path, action: NDArray[np.float32]) -> OnnxPolicy:
    return OnnxPolicy(load_artefact(artefact(folder, action), EXECUTION))


def test_rows_are_the_environments_to_the_bit() -> None:
    """Through whole episodes of several seeds, what the cascade reads is what agents read."""
    env = make_batched(3, seed=4, config=CONFIG)
    env.reset()
    generator = np.random.default_rng(0)
    for _ in range(CONFIG.parent.horizon_steps):
        for n in np.flatnonzero(~env.terminations):
            row = view_of_simulator(env.simulator, int(n)).row()
            np.testing.assert_array_equal(row[0], env.rows[n])
        actions = generator.uniform(0, 1, (3, WIDTH)).astype(np.float32)
        actions[:, EXECUTION.action_slice(3)] = generator.integers(0, 3, (3, 1))
        env.step(actions)


@pytest.mark.parametrize("decision", range(5))
def test_orders_are_what_the_simulator_sends(decision: int) -> None:
    """The same joint action in the same state: children, cancels and stop agree."""
    env = make_batched(1, seed=9, config=CONFIG)
    env.reset()
    for step in range(6):
        env.step(random_action(step)[None])
    simulator = env.simulator
    view = view_of_simulator(simulator, 0)
    action = random_action(77, decision)
    made = orders_of(view, action, ())
    remaining = int(view.parent["remaining"][0])
    reduces = bool(view.parent["reduces_risk"][0])
    resting = {tuple(own) for own in view.owned[view.owned[:, 0] == 1][:, [1, 4, 5]].tolist()}
    env.step(action[None])
    sent = simulator.decisions[0]
    children = simulator.children[0][: int(sent["children"])]
    names = [venue.name for venue in CONFIG.market.venues] + ["SMART"]
    assert made.stop == (decision == 4) == bool(sent["stop"])
    if not made.stop:
        assert [(o.venue, o.quantity, o.after_seconds) for o in made.orders] == [
            (names[c["venue"]], c["quantity"], c["offset"]) for c in children
        ]
        assert [o.kind for o in made.orders] == [
            "marketable" if c["kind"] == 1 else "limit" for c in children
        ]
    elif reduces:
        assert [(o.kind, o.quantity) for o in made.orders] == [("market", remaining)]
    else:
        assert (made.orders, made.abandoned) == ((), remaining)
    assert len(made.cancels) == int(simulator.cancels[0].sum())
    ticks = {(names.index(c.venue), view_ticks(view, c.price), c.quantity) for c in made.cancels}
    assert ticks <= resting


def view_ticks(view: Any, price: float) -> int:
    return round(price / CONFIG.market.tick - float(view.episode["base"][0]))


def test_decisions_carry_the_components_names(tmp_path: Path) -> None:
    action = random_action(1, decision=2)
    made = decide(policy(tmp_path / "a", action), played_view_of(tmp_path))
    by_name = {agent.agent: agent for agent in made.agents}
    assert list(by_name) == [agent.name for agent in EXECUTION.agents]
    assert by_name["market_timing"].values["urgency"] == pytest.approx(float(action[1]))
    assert by_name["risk_control"].choice == "DELAY" and made.orders == ()
    assert sum(by_name["risk_control"].values.values()) == pytest.approx(1.0)


def played_view_of(folder: Path) -> Any:
    return played_view(policy(folder / "player", random_action(1)), CONFIG, seed=0, steps=2)[0]


def test_probabilities_are_cut_by_agent() -> None:
    actions = np.zeros(WIDTH, np.float32)
    actions[EXECUTION.action_slice(3)] = 4
    shares = np.array([0.1, 0.1, 0.1, 0.2, 0.5], np.float32)
    named = name_decisions(EXECUTION, actions, shares)
    assert named[3].choice == "EMERGENCY_STOP"
    assert named[3].values["CANCEL"] == pytest.approx(0.2)


def test_a_parent_that_is_done_shows_its_last_decision(tmp_path: Path) -> None:
    eager = random_action(1)
    eager[EXECUTION.action_slice(2)] = [1.0, 0.0, 0.0, 0.0]
    eager[1] = 1.0
    view, steps = played_view(policy(tmp_path / "a", eager), CONFIG, seed=0, steps=1_000)
    assert steps < CONFIG.parent.horizon_steps and view.parent["remaining"][0] > 0
    assert view.parent["step"][0] == steps


def request(**fields: Any) -> DecideRequest:
    return DecideRequest(**{"layer": "execution", "tracking_uri": "sqlite:///unused.db", **fields})


def printed(wanted: DecideRequest, as_json: bool) -> str:
    text = io.StringIO()
    run_decide(wanted, Console(file=text, width=100), as_json)
    return text.getvalue()


def test_it_prints_agents_and_orders_for_people(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "a", random_action(3), beats_baseline=False)
    (tmp_path / "book.json").write_text(json.dumps(example()))
    text = printed(request(models=str(folder), book=str(tmp_path / "book.json")), as_json=False)
    assert "does NOT beat the best baseline" in text
    assert "buy 1000, 500 left, 25 of 75 steps left, arrival 100" in text
    for agent in EXECUTION.agents:
        assert agent.name in text
    assert "BUY" in text and "marketable" in text


def test_it_prints_one_json_object(tmp_path: Path) -> None:
    models = tmp_path / "models"
    mirror(artefact(tmp_path / "a", random_action(3)), models, "execution", "builtin")
    fields = json.loads(printed(request(models=str(models), steps=2), as_json=True))
    assert fields["source"] == "simulator, seed 0, after 2 steps"
    assert fields["agents"]["risk_control"]["choice"] == "APPROVE"
    assert all(order["quantity"] > 0 for order in fields["orders"])
    again = json.loads(printed(request(models=str(models), steps=2), as_json=True))
    assert again == fields


def test_settings_are_the_artefacts_own_unless_set(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "a", random_action(3))
    text = printed(
        request(models=str(folder), overrides=["env.parent.horizon_steps=20"]), as_json=False
    )
    assert "20 of 20 steps left" in text
    with pytest.raises(ConfigError, match="the environment alone"):
        printed(request(models=str(folder), overrides=["mappo.lr=1"]), as_json=False)
    with pytest.raises(ConfigError, match="horizon_steps"):
        printed(
            request(models=str(folder), overrides=["env.parent.horizon_stebs=1"]), as_json=False
        )


def test_a_wrong_setting_is_named_as_it_is_set(tmp_path: Path) -> None:
    """The remedy of the message is one that the command takes."""
    folder = artefact(tmp_path / "a", random_action(3))
    for text, said in [
        ("env.parent.horizon_steps=0", r"env\.parent\.horizon_steps=0 in --set env\.parent"),
        ("env.market.reference.kind=bars", r"--set env\.market\.reference\.bars=VALUE"),
    ]:
        with pytest.raises(ConfigError, match=said):
            printed(request(models=str(folder), overrides=[text]), as_json=False)


def test_an_execution_can_be_stepped_through_with_books_of_ones_own(tmp_path: Path) -> None:
    """Each answer's urgency_correction and carry go into the next book, and change it."""
    action = random_action(3)
    action[URGENCY], action[URGENCY_SHIFT] = 0.5, 1.0
    actor = policy(tmp_path / "a", action)

    def decided(**parent: Any) -> ExecutionDecision:
        state = BookState.model_validate(example(**parent))
        return decide(actor, view_of_book(state, CONFIG))

    def urgent(decision: ExecutionDecision) -> float:
        taken = [order.quantity for order in decision.orders if order.kind == "marketable"]
        return sum(taken) / sum(order.quantity for order in decision.orders)

    first = decided()
    assert first.urgency_correction == pytest.approx(1.0) and 0.0 < first.carry < 1.0
    assert first.as_dict()["carry"] == first.carry
    after = decided(urgency_correction=first.urgency_correction, carry=first.carry)
    assert urgent(decided(urgency_correction=-1.0)) < urgent(first) < urgent(after)
    assert after.carry != first.carry


def test_a_foreign_config_or_layer_is_refused(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "a", random_action(3), config={"env": {"venues": 1}})
    with pytest.raises(ArtefactError, match="not one of this version"):
        printed(request(models=str(folder)), as_json=False)
    bare = artefact(tmp_path / "b", random_action(3), config={})
    with pytest.raises(ArtefactError, match="has no 'env'"):
        printed(request(models=str(bare)), as_json=False)
    with pytest.raises(RegistryError, match="did you mean 'execution'"):
        printed(request(models=str(folder), layer="exekution"), as_json=False)


def run_cli(*arguments: str, check: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; `check` runs in it afterwards."""
    code = (
        "import sys\n"
        f"sys.argv = ['grandmodel', *{list(arguments)!r}]\n"
        "from trainers.cli import main\n"
        "try:\n    main()\n"
        f"except SystemExit as done:\n    {check or 'pass'}\n    raise\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        check=False,
        **options,
    )


def test_deciding_leaves_training_libraries_out(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "a", random_action(3))
    heavy = ["torch", "ray", "pettingzoo", "gymnasium", "mlflow", "pandas", "envs", "policies"]
    check = f"print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    done = run_cli("decide", "--models", str(folder), "--steps", "1", "--json", check=check)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agents"]["market_timing"]
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_a_book_comes_in_by_standard_input(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "a", random_action(3))
    done = run_cli(
        "decide", "--models", str(folder), "--book", "-", "--json", input=json.dumps(example())
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == "book state standard input"


def test_the_test_models_are_models() -> None:
    onnx.checker.check_model(onnx.load_from_string(constant_model(random_action(0))))

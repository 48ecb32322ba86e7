"""The body of `grandmodel decide`: an artefact, a moment, and what is to be done."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cascade.artefact import Manifest, load_artefact, read_manifest
from cascade.book_state import read_book_state
from cascade.decide import ExecutionDecision, decide, played_view
from cascade.policy import OnnxPolicy
from cascade.registry import REGISTRY_PREFIX, resolve
from cascade.view import ExecutionView, view_of_book
from configs.base import Config
from configs.errors import ArtefactError, ConfigError, RegistryError, nearest
from configs.execution import ExecutionConfig
from configs.loading import load_config
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL

LAYOUTS: dict[str, LayerLayout] = {EXECUTION.layer: EXECUTION}
# Layers that are trained and exported, and for which nothing here computes rows yet.
UNDECIDED = (STRATEGIC.layer, TACTICAL.layer)
_ENV_PREFIX = "env."


class _Environment(Config):
    """What `--set` of a decision may reach, under the key that training knows it by."""

    env: ExecutionConfig


@dataclass(frozen=True)
class DecideRequest:
    """What `grandmodel decide` was asked.

    Attributes:
        layer: whose champion decides.
        models: an artefact's folder, a folder of models, or models:/NAME@ALIAS.
        market: whose champion, of a folder of models; None takes the latest promoted.
        book: a JSON file with a book state, "-" for standard input, None for the simulator.
        seed, steps: of the simulated episode, and how far to work it first.
        overrides: `env.a.b=c`, laid over the artefact's own configuration.
        tracking_uri: the store of `models:/` references.
    """

    layer: str
    models: str
    tracking_uri: str
    market: str | None = None
    book: str | None = None
    seed: int = 0
    steps: int = 0
    overrides: Sequence[str] = ()


def run_decide(request: DecideRequest, console: Console, as_json: bool) -> None:
    """Decide and print, for people or as one JSON object.

    Raises:
        GrandmodelError: whatever is wrong with artefact, book or settings.
    """
    if request.layer in UNDECIDED:
        raise RegistryError(_undecided(request.layer, request.models))
    if request.layer not in LAYOUTS:
        raise RegistryError(f"no layer '{request.layer}'; {nearest(request.layer, LAYOUTS)}")
    # What a registry sends is read into memory; a folder of one's own is read in place.
    with tempfile.TemporaryDirectory(prefix="grandmodel-") as cache:
        folder = resolve(
            request.models,
            request.layer,
            market=request.market,
            tracking_uri=request.tracking_uri,
            cache=Path(cache),
        )
        if (found := read_manifest(folder).layer) in UNDECIDED:
            raise RegistryError(_undecided(found, folder))
        policy = OnnxPolicy(load_artefact(folder, LAYOUTS[request.layer]))
    if str(request.models).startswith(REGISTRY_PREFIX):
        folder = Path(request.models)
    config = environment_of(policy.manifest, folder, request.overrides)
    if request.book is None:
        view, worked = played_view(policy, config, request.seed, request.steps)
        source = f"simulator, seed {request.seed}, after {worked} steps"
        if config.upstream.loaded:
            source += ", the layers above sampled"
    else:
        view = view_of_book(read_book_state(request.book), config)
        source = "book state " + ("standard input" if request.book == "-" else request.book)
    decision = decide(policy, view)
    if as_json:
        fields = {
            "artefact": str(folder),
            "commit": policy.manifest.commit,
            "beats_baseline": policy.manifest.beats_baseline,
            "source": source,
            **decision.as_dict(),
        }
        console.print_json(json.dumps(fields, allow_nan=False), highlight=False)
        return
    print_decision(decision, view, policy.manifest, folder, source, console)


def _undecided(layer: str, place: object) -> str:
    return (
        f"{place}: grandmodel decide works for the layer {' and '.join(LAYOUTS)} only, got "
        f"'{layer}'; name one of its artefacts or a folder of models with --models"
    )


def environment_of(
    manifest: Manifest, folder: Path, overrides: Sequence[str] = ()
) -> ExecutionConfig:
    """The environment that an artefact was trained in, with `env.` overrides laid over it.

    Raises:
        ArtefactError: the manifest's configuration is not one of this version.
        ConfigError: an override is wrong.
    """
    trained = manifest.config.get("env")
    if not isinstance(trained, dict):
        raise ArtefactError(f"{folder}: the manifest's config has no 'env'; export it again")
    try:
        config = load_config(ExecutionConfig, trained)
    except ConfigError as error:
        raise ArtefactError(
            f"{folder}: the manifest's config is not one of this version ({error}); export it again"
        ) from error
    if not overrides:
        return config
    for text in overrides:
        if not text.startswith(_ENV_PREFIX):
            raise ConfigError(
                f"--set {text}: a decision depends on the environment alone; "
                f"expected {_ENV_PREFIX}KEY=VALUE"
            )
    return load_config(_Environment, {"env": trained}, overrides=overrides).env


def print_decision(
    decision: ExecutionDecision,
    view: ExecutionView,
    manifest: Manifest,
    folder: Path,
    source: str,
    console: Console,
) -> None:
    """Print a decision for people: where it comes from, agents, orders, cancels."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    standing = {
        True: "beats the best baseline",
        False: "does NOT beat the best baseline",
        None: "was never compared with a baseline",
    }[manifest.beats_baseline]
    say(f"policy {folder} ({manifest.market}, commit {manifest.commit[:12]}): {standing}")
    parent = view.parent[0]
    verb = "buy" if parent["side"] > 0 else "sell"
    say(
        f"from {source}: {verb} {parent['quantity']}, {parent['remaining']} left, "
        f"{parent['horizon'] - parent['step']} of {parent['horizon']} steps left, "
        f"arrival {view.price(float(parent['arrival'])):g}"
    )
    console.print(_agents_table(decision))
    if decision.orders:
        console.print(_orders_table(decision))
    else:
        say("no new orders")
    for order in decision.cancels:
        say(f"cancel {order.quantity} at {order.price:g} on {order.venue}")
    if decision.abandoned:
        say(f"EMERGENCY_STOP: {decision.abandoned} left undone")


def _agents_table(decision: ExecutionDecision) -> Table:
    table = Table("agent", "decision", title="decisions, in the order of acting")
    table.title_justify = "left"
    for agent in decision.agents:
        parts = [f"{name} {value:.3f}" for name, value in agent.values.items()]
        text = ", ".join(parts)
        table.add_row(agent.agent, f"{agent.choice} ({text})" if agent.choice else text)
    return table


def _orders_table(decision: ExecutionDecision) -> Table:
    table = Table(title="orders", title_justify="left")
    for header in ("after s", "venue", "side", "quantity", "kind", "limit"):
        table.add_column(header, justify="left" if header in ("venue", "kind") else "right")
    for order in decision.orders:
        limit = "-" if order.limit is None else f"{order.limit:g}"
        table.add_row(
            f"{order.after_seconds:.3f}",
            order.venue,
            order.side,
            str(order.quantity),
            order.kind,
            limit,
        )
    return table

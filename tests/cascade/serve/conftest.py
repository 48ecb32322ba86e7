"""A service in this process: one instrument, its windows whole, its log in a scratch folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cascade.serve.app import Service
from cascade.serve.desk import Desk
from cascade.serve.server import ServeRequest, load_desks
from configs.loading import load_config
from configs.serve import ServeConfig
from tests.cascade.layers import layer_artefact

NAME = "paper"
SETTINGS: dict[str, Any] = {
    "cascade": {"deadline": {"tactical": 30.0, "execution": 30.0}},
    "instruments": [{"name": NAME, "generated_bars": 2000}],
}


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    folder = tmp_path_factory.mktemp("serve")
    return [
        f"{layer}={layer_artefact(folder / layer, layer, seed=1)}"
        for layer in ("tactical", "execution")
    ]


@dataclass
class Served:
    """A service and what it works."""

    service: Service
    desk: Desk
    log: Path

    def client(self, **given: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.service, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", **given)

    @property
    def standing(self) -> tuple[int, int, int]:
        """What no refused request may change: orders, records, bars."""
        session = self.desk.session
        return session.tally["orders_sent"], self.desk.engine.recorded, session.bar


class Maker:
    """Makes services, and ends them with the test."""

    def __init__(self, stack: ExitStack, layers: Sequence[str], folder: Path) -> None:
        self._stack, self._layers, self._folder, self._count = stack, layers, folder, 0

    def __call__(self, token: str = "", models: str = "none", **limits: Any) -> Served:
        config = load_config(ServeConfig, {**SETTINGS, "limits": limits})
        self._count += 1
        log = self._folder / str(self._count)
        layers = self._layers if models == "none" else ()
        request = ServeRequest(config, "sqlite:///none", models, layers)
        owners = {NAME: "127.0.0.1:1", "other": "there:2"}
        service = Service([NAME], config.limits, token, owners, request.named)
        desks = load_desks(request, config.instruments, log, service.stream, self._stack)
        service.open(desks)
        return Served(service, desks[NAME], log / NAME)


@pytest.fixture
def make(layers: Sequence[str], tmp_path: Path) -> Iterator[Maker]:
    with ExitStack() as stack:
        yield Maker(stack, layers, tmp_path)


@pytest.fixture
def served(make: Maker) -> Served:
    return make()

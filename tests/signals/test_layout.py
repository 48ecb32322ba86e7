"""Layouts between processes: a known one travels by name, any other whole."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from configs.errors import SimulatorError
from signals import layout as module
from signals.execution import EXECUTION
from signals.layout import LayerLayout
from signals.strategic import STRATEGIC
from signals.tactical import TACTICAL
from tests.cascade.artefacts import SMALL

LAYOUTS = (STRATEGIC, TACTICAL, EXECUTION)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.layer)
def test_a_known_layout_travels_by_name(layout: LayerLayout) -> None:
    text = pickle.dumps(layout)
    assert len(text) < 300
    assert pickle.loads(text) is layout and copy.deepcopy(layout) is layout


def test_another_layout_travels_whole() -> None:
    changed = replace(STRATEGIC, shared=STRATEGIC.shared[:5])
    found = pickle.loads(pickle.dumps(changed))
    assert found == changed and found.row_width == 5
    assert pickle.loads(pickle.dumps(SMALL)) == SMALL


def test_another_versions_columns_are_refused() -> None:
    with pytest.raises(SimulatorError, match=r"'tactical' was sent with columns 0000.*same"):
        module._layout_of("tactical", "0" * 64)

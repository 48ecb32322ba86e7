"""What a worker's process imports and hides, and that it then decides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cascade.serve.lean import hidden

ROOT = Path(__file__).resolve().parents[3]
UNWANTED = {
    "cffi", "gymnasium", "matplotlib", "mlflow", "onnx", "pandas", "pandera", "pettingzoo",
    "pyarrow", "ray", "rich", "scipy.linalg", "torch",
}  # fmt: skip
# A worker's own steps, but for its socket: it decides, and lists what it has imported.
WORKER = """
import json, sys
from contextlib import ExitStack
from pathlib import Path
import trainers.cli
from cascade.serve.app import Service
from cascade.serve.lean import give_back, load_numba
from cascade.serve.server import ServeRequest, load_desks
from configs.loading import load_config
from configs.serve import ServeConfig
told = {"instruments": [{"name": "a", "generated_bars": 2000}],
        "cascade": {"deadline": {"tactical": 30.0, "execution": 30.0}}}
config = load_config(ServeConfig, told)
request = ServeRequest(config, "sqlite:///none", "none", sys.argv[2:])
service = Service(["a"], config.limits, named=request.named)
load_numba()
with ExitStack() as stack:
    desks = load_desks(request, config.instruments, Path(sys.argv[1]), service.stream, stack)
    give_back()
    kinds = {json.loads(desks["a"].decide(None))["kind"] for _ in range(40)}
print(json.dumps([sorted(kinds), sorted(sys.modules)]))
"""


def test_a_worker_imports_only_what_it_needs(tmp_path: Path, layers: Sequence[str]) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), *layers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds, modules = json.loads(done.stdout)
    assert "hot" in kinds
    assert sorted(UNWANTED & set(modules)) == []


def test_what_is_hidden_is_missing_inside_and_found_after() -> None:
    with hidden("colorsys"):
        sys.modules.pop("colorsys", None)
        with pytest.raises(ModuleNotFoundError, match="hidden"):
            __import__("colorsys")
        import json as whatever_else

        assert whatever_else is json
    assert __import__("colorsys").__name__ == "colorsys"

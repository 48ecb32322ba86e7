"""`python -m experiments.artefact_fuzz`: damaged and foreign artefacts; none may do but be refused.

Artefacts of untrained networks are altered, each in one way by its seed: bytes of any file, files
cut off, emptied, swapped or missing; the manifest's fields dropped, replaced or of other types, its
digests left as they were or made true of what was altered. Whatever comes of it must be one
ArtefactError, or a layer that decides finite actions within their space: weights and settings may
change and be an artefact still. Bytes that do not have their digest must be refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cascade.artefact import MANIFEST_FILE, POLICY_FILE
from cascade.models import LAYERS, LayerModel, action_bounds, load_model
from configs.errors import ArtefactError

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**30, -1e300, 0.5, "", "none", "../x", "é", [], [1], {}, {"x": 1},
)  # fmt: skip
_TRUE_SHARE = 0.5  # of alterations, whose digests are made true of them
REFUSED, STANDS = "refused", "an artefact still"


def altered(source: Path, folder: Path, seed: int) -> bool:
    """Make `folder` an altered copy of an artefact; whether its digests are true of it.

    A folder of links: nothing of `source` is written.
    """
    rng = random.Random(seed)
    folder.mkdir()
    for file in source.iterdir():
        os.link(file, folder / file.name)
    if rng.random() < _TRUE_SHARE:
        _write(folder / MANIFEST_FILE, _fields(rng, folder))
        return True
    path = folder / rng.choice(sorted(file.name for file in folder.iterdir()))
    _damage(rng, path, folder)
    true = path.name != MANIFEST_FILE and path.exists() and rng.random() < _TRUE_SHARE
    if true:
        _write(folder / MANIFEST_FILE, _told(folder, path.name))
    return true or path.name == MANIFEST_FILE


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # a link: the file behind it stays
    path.write_bytes(content)


def _damage(rng: random.Random, path: Path, folder: Path) -> None:
    content = bytearray(path.read_bytes())
    kind = rng.randrange(5)
    if kind == 0:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content = content[: rng.randrange(len(content))]
    elif kind == 2:
        content += rng.randbytes(1 + rng.randrange(64))
    elif kind == 3:
        content = bytearray(rng.randbytes(rng.randrange(256)))
    else:
        path.unlink()
        return
    _write(path, bytes(content))


def _fields(rng: random.Random, folder: Path) -> bytes:
    """The manifest with one of its fields, at any depth, dropped or replaced."""
    told = json.loads((folder / MANIFEST_FILE).read_bytes())
    here: Any = told
    while True:
        key = rng.choice(list(here) if isinstance(here, dict) else range(len(here)))
        deeper = here[key]
        if not isinstance(deeper, dict | list) or not deeper or rng.random() < 0.2:
            break
        here = deeper
    if rng.random() < 0.3:
        del here[key]
    else:
        here[key] = rng.choice(_VALUES)
    return json.dumps(told).encode()


def _told(folder: Path, name: str) -> bytes:
    """The manifest with the digest of a file made true."""
    told = json.loads((folder / MANIFEST_FILE).read_bytes())
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    graph = name.removesuffix(".onnx")
    if name == POLICY_FILE:
        told["onnx_sha256"] = digest
    if graph in told.get("graphs", {}):
        told["graphs"][graph]["sha256"] = digest
    if name in told.get("files", {}):
        told["files"][name] = digest
    return json.dumps(told).encode()


def outcome(layer: str, folder: Path) -> str:
    """REFUSED, STANDS, or what else came of loading it and deciding once."""
    try:
        model = load_model(layer, folder)
    except ArtefactError:
        return REFUSED
    except Exception as error:  # whatever else comes of it is what is looked for
        return f"{type(error).__name__}: {error}"
    return STANDS if _decides(model) else "decides what is no action"


def _decides(model: LayerModel[Any]) -> bool:
    low, high = action_bounds(model.layout)
    return bool(((low <= model.actions) & (model.actions <= high)).all()) and bool(
        np.isfinite(model.probabilities).all()
    )


def attack(models: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Load `count` altered artefacts; outcomes, and what was wrong with any."""
    found, wrong = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        for number in range(seed, seed + count):
            layer = tuple(LAYERS)[number % len(LAYERS)]
            folder = Path(scratch) / str(number)
            true = altered(models / layer, folder, number)
            came = outcome(layer, folder)
            shutil.rmtree(folder)
            found[came if came in (REFUSED, STANDS) else "something else"] += 1
            if came != REFUSED and (came != STANDS or not true):
                wrong.append(f"seed {number}, {layer}: {came}")
    return found, wrong


def main(arguments: list[str] | None = None) -> int:
    """Run it and print what came of it; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.artefact_fuzz", description=__doc__
    )
    parser.add_argument("--artefacts", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    from experiments.bench.cascade_layers import untrained

    with tempfile.TemporaryDirectory() as scratch:
        untrained(Path(scratch), given.seed).close()
        found, wrong = attack(Path(scratch), given.artefacts, given.seed)
    print(f"{given.artefacts} altered artefacts: {dict(sorted(found.items()))}")
    for line in wrong[:20]:
        print(line)
    print(f"{len(wrong)} of them were not refused as they should" if wrong else "none crashed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

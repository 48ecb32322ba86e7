"""A trained policy to an artefact: one fused ONNX graph and a manifest, proven equal to torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade.artefact import (
    FORMAT_VERSION,
    INPUT_ROWS,
    MANIFEST_FILE,
    OUTPUT_ACTIONS,
    OUTPUT_PROBABILITIES,
    POLICY_FILE,
    Artefact,
    Manifest,
    Parity,
    load_artefact,
)
from cascade.policy import OnnxPolicy
from configs.errors import ArtefactError
from policies.sequential import SequentialPolicy
from signals.layout import LayerLayout

OPSET = 20
PARITY_TOLERANCE = 1e-5  # of actions and probabilities, ONNX Runtime against torch
BATCH_TOLERANCE = 1e-6  # of a row alone against the same row in a batch
NEAR_TIE = 1e-5  # two choices this close in probability: rounding decides, both are right
RANDOM_ROWS = 256
RANDOM_ROW_SCALE = 2.0  # beyond the usual [-1, 1], so that clipping and saturation are met
BATCH_ROWS = 64  # rows that are also run alone
_EXAMPLE_ROWS = 2  # a batch of one would be taken for a constant


class ModePolicy(SequentialPolicy):
    """A sequential policy in mode whose forward also gives the discrete probabilities."""

    def __init__(self, trained: SequentialPolicy) -> None:
        super().__init__(trained.layout, trained.config)
        self.load_state_dict(trained.state_dict())
        self._probabilities: list[Tensor] = []
        self.eval()

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """rows [N, R] -> actions [N, A], probabilities [N, choices of all discrete agents]."""
        actions = self.act(rows, None).actions
        seen, self._probabilities = self._probabilities, []
        return actions, torch.cat([rows.new_zeros(rows.shape[0], 0), *seen], dim=1)

    def _decide(
        self, k: int, output: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        agent = self.layout.agents[k]
        if agent.kind == "discrete":
            self._probabilities.append(torch.softmax(output[:, : agent.encoded_width], dim=1))
        return super()._decide(k, output, noise)


def export_policy(
    policy: SequentialPolicy,
    layout: LayerLayout,
    folder: Path,
    manifest_fields: Mapping[str, Any],
    rows: NDArray[np.float32] | None = None,
    companions: Mapping[str, Callable[[Path], None]] | None = None,
) -> Manifest:
    """Write the artefact of `policy` to `folder`, whole or not at all.

    The graph maps `rows` float32 [N, R] to `actions` [N, A] (mode: sigmoid of the
    means, argmax as a number) and `probabilities` [N, choices of discrete agents].

    Args:
        policy: trained on `layout`.
        layout: its columns go into the manifest.
        folder: replaced where it exists.
        manifest_fields: env_id, market, config, seed, commit, versions, metrics,
            beats_baseline.
        rows: real rows float32 [n, R] on which parity is checked beside random ones.
        companions: what lies beside the policy: file name -> what writes it.

    Raises:
        ArtefactError: ONNX Runtime disagrees with torch, or a row in a batch with
            the same row alone.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    mode = ModePolicy(policy).cpu()
    model = to_onnx(mode, layout.row_width)
    fields = {
        **manifest_fields,
        "format_version": FORMAT_VERSION,
        "layer": layout.layer,
        "columns": layout.table(),
        "digest": layout.digest,
        "onnx_sha256": hashlib.sha256(model).hexdigest(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    unchecked = Parity(rows=1, near_ties=0, max_abs_difference=0.0, max_abs_batch_difference=0.0)
    manifest = Manifest.model_validate({**fields, "parity": unchecked})
    onnx = OnnxPolicy(Artefact(folder=folder, manifest=manifest, layout=layout, model=model))
    checked = measure_parity(mode, onnx, _probe_rows(layout, rows))
    manifest = manifest.model_copy(update={"parity": checked})
    with _whole_folder(folder) as temporary:
        (temporary / POLICY_FILE).write_bytes(model)
        files = _written(companions or {}, temporary)
        manifest = manifest.model_copy(update={"files": files})
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, allow_nan=False)
        (temporary / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
        load_artefact(temporary, layout)
    return manifest


def _written(companions: Mapping[str, Callable[[Path], None]], folder: Path) -> dict[str, str]:
    """Write what lies beside the policy; the SHA-256 of each file by its name."""
    digests = {}
    for name, write in companions.items():
        write(folder / name)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return digests


def to_onnx(mode: ModePolicy, row_width: int) -> bytes:
    """One ONNX file with its weights inside and nothing about where it was made."""
    batch = torch.export.Dim("batch", min=1)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            mode,
            (torch.zeros(_EXAMPLE_ROWS, row_width),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_ROWS],
            output_names=[OUTPUT_ACTIONS, OUTPUT_PROBABILITIES],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    if program is None:
        raise ArtefactError("torch.onnx.export gave no program; export again with PyTorch 2.13")
    # Stack traces in the metadata would carry this machine's paths into the artefact.
    for node in program.model.graph:
        node.metadata_props.clear()
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.metadata_props.clear()
    program.model.metadata_props.clear()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / POLICY_FILE
        program.save(path)
        if len(list(Path(scratch).iterdir())) != 1:
            raise ArtefactError("the exported policy has a data sidecar; expected one file")
        return path.read_bytes()


def measure_parity(mode: ModePolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]) -> Parity:
    """How far ONNX Runtime lies from torch on `rows`, and a batch from its rows alone.

    Rows where the two likeliest choices of a discrete agent differ by less than
    NEAR_TIE in probability are left out and counted: the argmax, and all that
    later agents make of it, may fall either way.

    Raises:
        ArtefactError: beyond PARITY_TOLERANCE or BATCH_TOLERANCE.
    """
    with torch.no_grad():
        actions, probabilities = (t.numpy() for t in mode(torch.from_numpy(rows)))
    decided = onnx.decide(rows)
    clear = ~_near_ties(onnx.layout, probabilities)
    alone = np.flatnonzero(clear)[:BATCH_ROWS]
    if alone.size == 0:
        raise ArtefactError(
            f"in each of {len(rows)} rows some agent finds two choices equally likely, so parity "
            "cannot be measured; pass rows on which the policy has learnt to choose"
        )
    difference = max(
        float(np.abs(decided.actions - actions)[clear].max(initial=0.0)),
        float(np.abs(decided.probabilities - probabilities)[clear].max(initial=0.0)),
    )
    single = np.concatenate([onnx.decide(rows[i : i + 1]).actions for i in alone])
    batch_difference = float(np.abs(single - decided.actions[alone]).max(initial=0.0))
    if difference > PARITY_TOLERANCE or batch_difference > BATCH_TOLERANCE:
        raise ArtefactError(
            f"the exported policy differs from torch by {difference:.2e} (at most "
            f"{PARITY_TOLERANCE:.0e}) and a batch from its rows by {batch_difference:.2e} (at "
            f"most {BATCH_TOLERANCE:.0e}); nothing was written"
        )
    return Parity(
        rows=len(rows),
        near_ties=int((~clear).sum()),
        max_abs_difference=difference,
        max_abs_batch_difference=batch_difference,
    )


def _near_ties(layout: LayerLayout, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool [N]: some discrete agent's two likeliest choices are within NEAR_TIE."""
    ties = np.zeros(len(probabilities), dtype=np.bool_)
    start = 0
    for agent in layout.agents:
        if agent.kind != "discrete":
            continue
        width = len(agent.components)
        if width > 1:
            top = np.sort(probabilities[:, start : start + width], axis=1)
            ties |= top[:, -1] - top[:, -2] < NEAR_TIE
        start += width
    return ties


def _probe_rows(layout: LayerLayout, given: NDArray[np.float32] | None) -> NDArray[np.float32]:
    generator = np.random.default_rng(int(layout.digest[:8], 16))
    random = generator.standard_normal((RANDOM_ROWS, layout.row_width)) * RANDOM_ROW_SCALE
    rows = random.astype(np.float32)
    if given is not None and given.size:
        rows = np.concatenate([rows, given.astype(np.float32)])
    return rows


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block succeeds."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's own mode shuts other users out
        if folder.exists():
            aside = temporary.with_name(temporary.name + "-old")
            os.replace(folder, aside)
            os.replace(temporary, folder)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter speaks of packages it does not find and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""A trained policy to an artefact: fused ONNX graphs and a manifest, proven equal to torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
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
    MANIFEST_FILE,
    POLICY,
    Artefact,
    GraphFacts,
    GraphName,
    Manifest,
    Parity,
    graph_file,
    load_artefact,
)
from cascade.graphs import (
    ACTIONS,
    PROBABILITIES,
    REGIME_CONFIDENCE,
    REGIMES,
    SAMPLED_ACTIONS,
    inputs_of,
)
from cascade.policy import Decision, OnnxPolicy
from configs.errors import ArtefactError
from policies.ensemble import LayerPolicy
from signals.layout import LayerLayout
from signals.noise import joint_noise
from trainers.graphs import DOUBTS, TracedPolicy, to_onnx

PARITY_TOLERANCE = 1e-5  # of actions and probabilities, ONNX Runtime against torch
BATCH_TOLERANCE = 1e-6  # of a row alone against the same row in a batch
NEAR_TIE = 1e-5  # two choices this close in probability: rounding decides, both are right
RANDOM_ROWS = 256
RANDOM_ROW_SCALE = 2.0  # beyond the usual [-1, 1], so that clipping and saturation are met
BATCH_ROWS = 64  # rows that are also run alone
LEAST_SPREAD = 1e-6  # of some agent's decision under masks; rounding alone gives less
UNCERTAIN_ROWS = 16  # rows whose uncertainty is compared: each takes all masks


def export_policy(
    policy: LayerPolicy,
    layout: LayerLayout,
    folder: Path,
    manifest_fields: Mapping[str, Any],
    rows: NDArray[np.float32] | None = None,
    companions: Mapping[str, Callable[[Path], None]] | None = None,
) -> Manifest:
    """Write the artefact of `policy` to `folder`, whole or not at all.

    Its graphs, by `cascade.graphs`: the decision in mode (sigmoid of the means, argmax as a
    number) with all discrete agents' probabilities; samples for given noise; with dropout,
    the decision and its uncertainty.

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
    traced = TracedPolicy(policy).cpu()
    models = to_onnx(traced)
    facts = {
        name: GraphFacts(
            sha256=hashlib.sha256(model).hexdigest(),
            inputs=inputs_of(layout, name),
            outputs=traced.widths(name),
        )
        for name, model in models.items()
    }
    fields = {
        **manifest_fields,
        "format_version": FORMAT_VERSION,
        "layer": layout.layer,
        "columns": layout.table(),
        "digest": layout.digest,
        "onnx_sha256": facts[POLICY].sha256,
        "graphs": facts,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    unchecked = Parity(rows=1, near_ties=0, max_abs_difference=0.0, max_abs_batch_difference=0.0)
    manifest = Manifest.model_validate({**fields, "parity": unchecked})
    others: dict[GraphName, bytes] = {
        name: model for name, model in models.items() if name != POLICY
    }
    onnx = OnnxPolicy(Artefact(folder, manifest, layout, models[POLICY], others))
    checked = measure_parity(traced, onnx, _probe_rows(layout, rows))
    manifest = manifest.model_copy(update={"parity": checked})
    with _whole_folder(folder) as temporary:
        for name, model in models.items():
            (temporary / graph_file(name)).write_bytes(model)
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


def measure_parity(traced: TracedPolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]) -> Parity:
    """How far ONNX Runtime lies from torch on `rows`, and a batch from its rows alone.

    Rows where the two likeliest choices of a discrete agent differ by less than
    NEAR_TIE in probability are left out and counted: the argmax, and all that
    later agents make of it, may fall either way.

    Raises:
        ArtefactError: beyond PARITY_TOLERANCE or BATCH_TOLERANCE, or masks that move nothing.
    """
    with torch.no_grad():
        expected = _arrays(traced.outputs(torch.from_numpy(rows)))
    clear = ~_near_ties(onnx.layout, expected[PROBABILITIES])
    alone = np.flatnonzero(clear)[:BATCH_ROWS]
    if alone.size == 0:
        raise ArtefactError(
            f"in each of {len(rows)} rows some agent finds two choices equally likely, so parity "
            "cannot be measured; pass rows on which the policy has learnt to choose"
        )
    decided = onnx.decide(rows)
    difference = _apart(_named(decided), expected, clear)
    single = np.concatenate([onnx.decide(rows[i : i + 1]).actions for i in alone])
    parity = Parity(
        rows=len(rows),
        near_ties=int((~clear).sum()),
        max_abs_difference=difference,
        max_abs_batch_difference=float(np.abs(single - decided.actions[alone]).max(initial=0.0)),
        max_abs_sampled_difference=_sampled_apart(traced, onnx, rows),
        max_abs_uncertainty_difference=_doubts_apart(traced, onnx, rows[alone]),
    )
    _check(parity)
    return parity


def _check(parity: Parity) -> None:
    for what, difference, tolerance in (
        ("decision in mode from torch's", parity.max_abs_difference, PARITY_TOLERANCE),
        ("decision for a batch from one row's", parity.max_abs_batch_difference, BATCH_TOLERANCE),
        ("samples from torch's", parity.max_abs_sampled_difference, PARITY_TOLERANCE),
        ("uncertainty from torch's", parity.max_abs_uncertainty_difference, PARITY_TOLERANCE),
    ):
        if difference is not None and difference > tolerance:
            raise ArtefactError(
                f"the exported policy's {what} differs by {difference:.2e} (at most "
                f"{tolerance:.0e}); nothing was written"
            )


def _arrays(found: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    return {name: values.numpy() for name, values in found.items()}


def _named(decision: Decision) -> dict[str, NDArray[np.float32]]:
    """A decision's arrays by the names of outputs."""
    found = {ACTIONS: decision.actions, PROBABILITIES: decision.probabilities}
    if decision.regimes is not None and decision.regime_confidence is not None:
        found |= {
            REGIMES: decision.regimes,
            REGIME_CONFIDENCE: decision.regime_confidence[:, None],
        }
    return found


def _apart(
    found: Mapping[str, NDArray[np.float32]],
    expected: Mapping[str, NDArray[np.float32]],
    which: NDArray[np.bool_],
) -> float:
    """The largest difference in the rows `which`, over all that is found."""
    return max(
        float(np.abs(values - expected[name])[which].max(initial=0.0))
        for name, values in found.items()
    )


def _sampled_apart(traced: TracedPolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]) -> float:
    """How far samples lie from torch's for the same noise, near ties left out."""
    count = np.arange(len(rows))
    noise = joint_noise(onnx.layout, count.astype(np.uint64), count)
    with torch.no_grad():
        found = traced.outputs(torch.from_numpy(rows), torch.from_numpy(noise))
        clear = traced.clear_samples(NEAR_TIE).numpy()
    expected = found[SAMPLED_ACTIONS].numpy()
    return _apart({ACTIONS: onnx.sample(rows, noise)}, {ACTIONS: expected}, clear)


def _doubts_apart(
    traced: TracedPolicy, onnx: OnnxPolicy, rows: NDArray[np.float32]
) -> float | None:
    """How far the uncertainty of some rows lies from torch's; None of a policy without masks."""
    if not onnx.doubts:
        return None
    rows = rows[:UNCERTAIN_ROWS]
    with torch.no_grad():
        expected = _arrays(traced.outputs(torch.from_numpy(rows), doubt=True))
    doubt = onnx.doubt(rows)
    parts = (doubt.mean, doubt.spread, doubt.entropy, doubt.information)
    found = dict(zip(DOUBTS, parts, strict=True)) | _named(doubt.decision)
    # No single agent must doubt: one that has learnt to be sure is no fault of the graph.
    if doubt.spread.max(initial=0.0) <= LEAST_SPREAD:
        raise ArtefactError(
            f"no mask moves what any agent decides in {len(rows)} rows (spread at most "
            f"{doubt.spread.max(initial=0.0):.0e}): the exported graph has lost its masks, or "
            "the networks their units; nothing was written"
        )
    return _apart(found, expected, np.ones(len(rows), np.bool_))


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

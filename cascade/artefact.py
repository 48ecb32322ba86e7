"""An exported policy on disk: a folder with `policy.onnx`, further graphs and `manifest.json`.

What was trained elsewhere is read here with suspicion: every way in which the
folder can be missing, damaged or foreign ends in one `ArtefactError`.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from configs.errors import ArtefactError
from signals.layout import LayerLayout

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # the first knew the graph in mode alone
MANIFEST_FILE = "manifest.json"
REGIME_MODEL_FILE = "regime_model.json"  # beside a strategic policy: its rows hold posteriors
POLICY: Literal["policy"] = "policy"
GraphName = Literal["policy", "sampling", "uncertainty"]
Confidence = Literal["direction", "regime"]
DIRECTION: Confidence = "direction"
REGIME: Confidence = "regime"
POLICY_FILE = f"{POLICY}.onnx"
MAX_MANIFEST_BYTES = 8 << 20
MAX_POLICY_BYTES = 1 << 30
REMEDY = "export it again with `grandmodel train LAYER`"

_SHA256 = r"^[0-9a-f]{64}$"
_Digest = Annotated[str, Field(pattern=_SHA256)]
_FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # never a path out of the folder


def _absent(value: float | None) -> bool:
    return value is None


_Measured = Annotated[float | None, Field(ge=0.0, exclude_if=_absent)]


class Parity(BaseModel):
    """How far the ONNX policy lies from the torch policy it was exported from.

    `near_ties` counts rows left out of the comparison because two discrete
    choices were equally likely to within rounding, so that either is right.
    The last two are None where there is no such graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rows: int = Field(ge=1)
    near_ties: int = Field(ge=0)
    max_abs_difference: float = Field(ge=0.0)
    max_abs_batch_difference: float = Field(ge=0.0)
    max_abs_sampled_difference: _Measured = None
    max_abs_uncertainty_difference: _Measured = None


class GraphFacts(BaseModel):
    """One ONNX file of an artefact: its SHA-256, and the width of each input and output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: _Digest
    inputs: dict[str, NonNegativeInt]
    outputs: dict[str, NonNegativeInt]


class TrainedOn(BaseModel):
    """The bars that a policy was trained on, as dates, first to last.

    kind: "bars" of a file, whose dates are those of every file; "generated" by the built-in
    market, where the dates of another `seed` are another past. fingerprint: of all bars.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bars", "generated"]
    begins: AwareDatetime
    ends: AwareDatetime
    fingerprint: str
    seed: int | None = None

    def overlaps(self, other: TrainedOn) -> bool:
        """Whether the two share a date of one past."""
        if (self.kind, self.seed) != (other.kind, other.seed):
            return False
        return self.begins <= other.ends and other.begins <= self.ends

    def __str__(self) -> str:
        of = "a file" if self.seed is None else f"the built-in market, seed {self.seed}"
        return f"{self.begins:%Y-%m-%d %H:%M} to {self.ends:%Y-%m-%d %H:%M} of {of}"


class Manifest(BaseModel):
    """What an artefact says of itself.

    `columns` is the column table of the layout that it was trained on and
    `digest` its SHA-256; `metrics` were measured, never assumed.
    `beats_baseline` is None where the policy was never compared. `files` are the SHA-256 of
    what lies beside the policy and is needed to compute its rows, by file name. `trained_on`
    is None where episodes come from no bars; `upstream` are the policies that it was trained
    under, by layer, as the SHA-256 of their networks. `graphs` are the networks by name
    (`cascade.graphs`), each in the file NAME.onnx; format 1 has none and one network,
    `policy`, whose SHA-256 `onnx_sha256` is in either format. `temperatures` are those that
    make its confidences match what came true on the validation split (`trainers.calibration`);
    a confidence without one is as the network states it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format_version: int
    layer: str = Field(min_length=1)
    env_id: str = Field(min_length=1)
    market: str = Field(min_length=1)
    columns: dict[str, JsonValue]
    digest: _Digest
    config: dict[str, JsonValue]
    seed: int
    commit: str
    versions: dict[str, str]
    metrics: dict[str, float]
    parity: Parity
    onnx_sha256: _Digest
    created: str
    beats_baseline: bool | None = None
    files: dict[_FileName, _Digest] = Field(default_factory=dict, exclude_if=operator.not_)
    trained_on: TrainedOn | None = Field(default=None, exclude_if=operator.not_)
    upstream: dict[str, _Digest] = Field(default_factory=dict, exclude_if=operator.not_)
    graphs: dict[GraphName, GraphFacts] = Field(default_factory=dict, exclude_if=operator.not_)
    temperatures: dict[Confidence, PositiveFloat] = Field(
        default_factory=dict, exclude_if=operator.not_
    )

    @model_validator(mode="after")
    def _the_policy_is_told_once(self) -> Self:
        if self.format_version == 1:
            fits = not self.graphs
        else:
            fits = POLICY in self.graphs and self.graphs[POLICY].sha256 == self.onnx_sha256
        if not fits:
            raise ValueError(
                f"graphs {', '.join(self.graphs) or 'none'} in format {self.format_version}: "
                f"expected none in format 1, and '{POLICY}' of SHA-256 onnx_sha256 in format 2"
            )
        return self


@dataclass(frozen=True)
class Artefact:
    """A verified artefact: its folder, manifest, layout and the bytes of its ONNX files.

    model: of the policy in mode. others: of the further graphs, by name.
    """

    folder: Path
    manifest: Manifest
    layout: LayerLayout
    model: bytes
    others: Mapping[GraphName, bytes] = field(default_factory=dict)


def graph_file(name: str) -> str:
    """The file of an artefact's graph."""
    return f"{name}.onnx"


def load_artefact(folder: Path, expected_layout: LayerLayout) -> Artefact:
    """Read an artefact and verify it against the columns this version computes.

    Args:
        folder: the artefact's folder.
        expected_layout: the layout whose rows the caller will pass.

    Raises:
        ArtefactError: folder or file missing, manifest unreadable or of another
            format, ONNX file or one beside it truncated or altered (its SHA-256
            differs), or trained in another version of the environment or on other columns; the
            first that differs is named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtefactError(
            f"no artefact at {folder}: expected a folder with {MANIFEST_FILE} and {POLICY_FILE}; "
            f"{REMEDY} or name another with --models"
        )
    manifest = read_manifest(folder)
    _check_layout(folder, manifest, expected_layout)
    model = _verified(folder / POLICY_FILE, manifest.onnx_sha256)
    for name, expected in manifest.files.items():
        _verified(folder / name, expected)
    others: dict[GraphName, bytes] = {
        name: _verified(folder / graph_file(name), facts.sha256)
        for name, facts in manifest.graphs.items()
        if name != POLICY
    }
    return Artefact(folder, manifest, expected_layout, model, others)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artefact's folder, validated; raises ArtefactError."""
    path = Path(folder) / MANIFEST_FILE
    raw = _read(path, MAX_MANIFEST_BYTES)
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not JSON ({error}); {REMEDY}") from error
    if not isinstance(fields, dict):
        raise ArtefactError(f"{path} holds no JSON object but a {type(fields).__name__}; {REMEDY}")
    version = fields.get("format_version")
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise ArtefactError(
            f"{path} has format version {version!r}, this version reads {known}; {REMEDY}"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]
        )
        raise ArtefactError(f"{path} is not a valid manifest ({problems}); {REMEDY}") from error


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is missing; {REMEDY}") from error
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from error
    if not content:
        raise ArtefactError(f"{path} is empty; {REMEDY}")
    if len(content) > limit:
        raise ArtefactError(f"{path} is larger than {limit} bytes, which no artefact is; {REMEDY}")
    return content


def _verified(path: Path, expected: str) -> bytes:
    """What the file holds, if it has the SHA-256 `expected`."""
    content = _read(path, MAX_POLICY_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ArtefactError(
            f"{path} is damaged or was replaced: its SHA-256 is {found[:12]}..., "
            f"{MANIFEST_FILE} expects {expected[:12]}...; {REMEDY}"
        )
    return content


def _check_layout(folder: Path, manifest: Manifest, expected: LayerLayout) -> None:
    if manifest.layer != expected.layer:
        raise ArtefactError(
            f"{folder} holds a policy of layer '{manifest.layer}', "
            f"expected layer '{expected.layer}'; name a folder of that layer with --models"
        )
    if manifest.env_id != expected.env_id:
        raise ArtefactError(
            f"{folder} was trained in {manifest.env_id}, expected {expected.env_id}, whose market "
            f"is another; {REMEDY}"
        )
    text = json.dumps(manifest.columns, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != manifest.digest:
        raise ArtefactError(
            f"{folder / MANIFEST_FILE} was altered: its columns do not have its digest; {REMEDY}"
        )
    if manifest.digest != expected.digest:
        difference = first_difference(manifest.columns, expected.table())
        raise ArtefactError(
            f"{folder} was trained on other columns than this version computes: {difference}; "
            f"{REMEDY}"
        )


def first_difference(got: dict[str, Any], expected: dict[str, Any]) -> str:
    """A clause that names the first column, agent or component in which two tables differ."""
    got_entries, expected_entries = list(_entries(got)), list(_entries(expected))
    for mine, theirs in zip(got_entries, expected_entries, strict=False):
        if mine != theirs:
            return f"{_say(mine)} in the artefact, expected {_say(theirs)}"
    if len(got_entries) > len(expected_entries):
        return f"{_say(got_entries[len(expected_entries)])} in the artefact is unknown here"
    if len(expected_entries) > len(got_entries):
        return f"{_say(expected_entries[len(got_entries)])} is missing from the artefact"
    return "the tables differ in their form"


def _entries(table: dict[str, Any]) -> list[tuple[str, str]]:
    """(where, what) for each column and agent of a table, in the order of a row."""

    def columns(where: str, rows: object) -> list[tuple[str, str]]:
        if not isinstance(rows, list):
            return [(where, repr(rows))]
        return [
            (where, " ".join(f"{k}={row[k]}" for k in ("name", "unit", "low", "high") if k in row))
            if isinstance(row, dict)
            else (where, repr(row))
            for row in rows
        ]

    entries = columns("shared column", table.get("shared"))
    agents = table.get("agents")
    for agent in agents if isinstance(agents, list) else []:
        if not isinstance(agent, dict):
            entries.append(("agent", repr(agent)))
            continue
        name = agent.get("name")
        entries.append(("agent", f"{name} ({agent.get('kind')}: {agent.get('components')})"))
        entries += columns(f"own column of {name}", agent.get("own"))
    return entries


def _say(entry: tuple[str, str]) -> str:
    where, what = entry
    return f"{where} '{what}'"

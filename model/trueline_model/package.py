"""A model as one file, `NAME-VERSION.tlm`: what it is, what it was made of, what it must answer, and who signed it.

Promises: `read_package` returns only what the named signer's key signed, bit for bit, and whose description fits its
contents; not one byte of it is decoded before its signature is checked, and no length it declares is believed. Refuses
to know what the arrays mean: `trueline_model.detectors` makes a detector of them, LiteRT runs a network.

    magic 8 | key id 4 | signature 64 | length of the manifest 4 (little endian) | manifest (JSON) | parts, end to end

The signature (Ed25519) covers the magic and everything behind the signature. Parts are arrays, little endian, in the
order and of the types and shapes the manifest names: the detector's arrays (`detector.NAME`), the network as its bytes
(`network`), what normal scores look like (`calibration.NAME`), the alarm's threshold (`alarm.NAME`), what tells a
sensor's fault from the process's (`verdict.NAME`), and rows with the scores they must get (`golden.NAME`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from trueline_wire.errors import NeverRetry
from trueline_wire.keys import KEY_ID_SIZE, SIGNATURE_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_wire.keys import Signer, Verifier

__all__ = [
    "PACKAGE_SIZE_MAX",
    "Golden",
    "Input",
    "Manifest",
    "Package",
    "Trained",
    "open_package",
    "read_package",
    "write_package",
]

PACKAGE_SIZE_MAX: Final = 16 * 1024 * 1024
"""Bytes of a package, at most."""

_MAGIC: Final = b"TLMODEL1"
_HEAD_SIZE: Final = len(_MAGIC) + KEY_ID_SIZE + SIGNATURE_SIZE
_MANIFEST_SIZE_MAX: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_INPUTS_MAX: Final = 4096

DType = Literal["float64", "float32", "int64", "int32", "int8", "uint8", "bool"]


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts of a manifest have in common: an unknown key is a mistake."""


class Input(_Struct, frozen=True, kw_only=True):
    """A channel the model reads.

    Attributes:
        name: as in the recordings it was trained on.
        unit: UCUM code of its numbers.
        minimum: least value it was trained on.
        maximum: greatest.
    """

    name: str
    unit: str
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not -math.inf < self.minimum <= self.maximum < math.inf:
            raise ValueError(f"input {self.name!r:.80}: minimum {self.minimum} and maximum {self.maximum} are no range")


class Trained(_Struct, frozen=True, kw_only=True):
    """What it was trained on.

    Attributes:
        begin: of the first row, UTC.
        end: of the last.
        rows: how many.
        source: where they came from, in words.
        sha256: of the rows, in hexadecimal; "" where nobody took it.
        licence: under which they may be used; "" where unknown.
    """

    begin: datetime
    end: datetime
    rows: int
    source: str
    sha256: str = ""
    licence: str = ""


class _Part(_Struct, frozen=True, kw_only=True):
    name: str
    dtype: DType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise ValueError(f"part {self.name!r:.80} has a shape of {self.shape}")

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Manifest(_Struct, frozen=True, kw_only=True):
    """What a package says of itself.

    Attributes:
        name: of the model; versions of one model share it.
        version: grows.
        created: UTC.
        kind: which detector: a key of `trueline_model.detectors.DETECTORS`; or `prediction`.
        settings: its recipe, plain values: window, stride and what else it has.
        inputs: the channels it reads, in order.
        interval_s: between rows, as it was trained; a row that comes much later begins anew.
        trained: what it was trained on.
        alarm: the recipe of its alarm, as `trueline_model.alarm.Alarm`; empty where it raises none.
        calibrated_s: seconds of normal running its calibration watched: what alarm rates it can support.
        metrics: what was measured of it, by name; the name says the unit.
        golden_tolerance: the scores of the golden rows may differ so much, relative to the greatest of them.
        parts: of the arrays behind the manifest; written by `write_package`.
    """

    name: str
    version: int
    created: datetime
    kind: str
    settings: dict[str, Any]
    inputs: tuple[Input, ...]
    interval_s: float
    trained: Trained
    alarm: dict[str, Any] = {}
    calibrated_s: float = 0.0
    metrics: dict[str, float] = {}
    golden_tolerance: float = 1e-6
    parts: tuple[_Part, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r:.80}: 1 to 64 of A-Z a-z 0-9 . _ - are wanted")
        if not 0 < self.version < 1 << 31:
            raise ValueError(f"version {self.version} must be above 0, and below 2^31")
        names = [one.name for one in self.inputs]
        if not 0 < len(names) <= _INPUTS_MAX or len(set(names)) < len(names):
            raise ValueError(f"inputs: 1 to {_INPUTS_MAX} channels are wanted, each once")
        if not 0.0 < self.interval_s < math.inf:
            raise ValueError(f"interval_s {self.interval_s} must be above 0 and finite")
        if not 0.0 <= self.calibrated_s < math.inf:
            raise ValueError(f"calibrated_s {self.calibrated_s} must not be negative, and finite")
        if not 0.0 <= self.golden_tolerance < 1.0:
            raise ValueError(f"golden_tolerance {self.golden_tolerance} must be at least 0 and below 1")
        if len({part.name for part in self.parts}) < len(self.parts):
            raise ValueError("parts: a name comes twice")

    @property
    def file_name(self) -> str:
        """Of the package."""
        return f"{self.name}-{self.version}.tlm"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Rows, and what the detector must say of them from a start, whoever runs it.

    Attributes:
        value: (g, k) float64, in the inputs' units.
        valid: (g, k) bool.
        score: (g,) float64, NaN where it says nothing.
    """

    value: NDArray[np.float64]
    valid: NDArray[np.bool_]
    score: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.score)
        if self.value.shape != self.valid.shape or self.value.shape[:1] != (rows,) or self.score.shape != (rows,):
            raise ValueError(f"golden rows of {self.value.shape}, {self.valid.shape} and {self.score.shape}")
        if not np.isfinite(self.score).any():
            raise ValueError("golden rows without one score prove nothing: take more than the detector warms up")
        if not np.isfinite(self.value[self.valid]).all() or np.isinf(self.score).any():
            raise ValueError("golden rows hold a number that is not finite")


@dataclass(frozen=True, eq=False, kw_only=True)
class Package:
    """A model with all it needs. Arrays are read-only where it was read.

    Attributes:
        manifest: see `Manifest`; `parts` are filled in when it is written.
        arrays: what was fitted, by name.
        golden: see `Golden`.
        network: a `.tflite` file's bytes; b"" where the detector has none.
        calibration: `Calibration.arrays()` of normal running it was not trained on; empty: it gives scores alone.
        alarm: `Alarming.arrays()` from the same; empty: it raises none.
        verdict: `verdict.Judge.arrays()` of normal running; empty: events are told without a verdict.
    """

    manifest: Manifest
    arrays: Mapping[str, NDArray[Any]]
    golden: Golden
    network: bytes = b""
    calibration: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    alarm: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    verdict: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.golden.value.shape[1:] != (len(self.manifest.inputs),):
            raise ValueError(f"golden rows of {self.golden.value.shape} for {len(self.manifest.inputs)} inputs")
        groups = (self.arrays, self.calibration, self.alarm, self.verdict)
        for name, array in [item for group in groups for item in group.items()]:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"array {name!r:.80} holds a number that is not finite")


def write_package(package: Package, signer: Signer) -> bytes:
    """The file.

    Raises:
        ValueError: it would be longer than a package may be, or an array is of a type no package holds.
    """
    groups = {
        "detector": package.arrays,
        "calibration": package.calibration,
        "alarm": package.alarm,
        "verdict": package.verdict,
    }
    golden = package.golden
    groups["golden"] = {"value": golden.value, "valid": golden.valid, "score": golden.score}
    parts = {f"{group}.{name}": np.asarray(array) for group, arrays in groups.items() for name, array in arrays.items()}
    if package.network:
        parts["network"] = np.frombuffer(package.network, np.uint8)
    named = tuple(_named(name, array) for name, array in parts.items())
    manifest = msgspec.json.encode(msgspec.structs.replace(package.manifest, parts=named))
    blocks = [np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes() for array in parts.values()]
    rest = b"".join([len(manifest).to_bytes(4, "little"), manifest, *blocks])
    if len(manifest) > _MANIFEST_SIZE_MAX or _HEAD_SIZE + len(rest) > PACKAGE_SIZE_MAX:
        raise ValueError(f"a package of {_HEAD_SIZE + len(rest)} bytes: {PACKAGE_SIZE_MAX} fit")
    return _MAGIC + signer.key_id + signer.sign(_MAGIC + rest) + rest


def read_package(data: bytes, verifier: Verifier, signer: str = "cloud") -> Package:
    """What the file holds, if the named signer signed it.

    Raises:
        NotAuthentic: it did not.
        NeverRetry: it did, and the file is no package nonetheless; the message says what does not fit.
    """
    if not _HEAD_SIZE < len(data) <= PACKAGE_SIZE_MAX or not data.startswith(_MAGIC):
        raise NeverRetry(
            f"{len(data)} bytes that are no model package: a .tlm file of this version begins with TLMODEL1"
        )
    key_id, signature = data[len(_MAGIC) :][:KEY_ID_SIZE], data[_HEAD_SIZE - SIGNATURE_SIZE : _HEAD_SIZE]
    verifier.verify(signer, key_id, signature, _MAGIC + data[_HEAD_SIZE:])
    return open_package(data)


def open_package(data: bytes) -> Package:
    """What the file holds, whoever signed it: for those who have verified it, and to look at one.

    Raises:
        NeverRetry: the file is no package; the message says what does not fit.
    """
    at = _HEAD_SIZE + 4
    size = int.from_bytes(data[_HEAD_SIZE:at], "little")
    if not data.startswith(_MAGIC) or size > min(_MANIFEST_SIZE_MAX, len(data) - at):
        raise NeverRetry(f"no model package, or one cut off after {len(data)} bytes: fetch it again")
    try:
        manifest = msgspec.json.decode(data[at : at + size], type=Manifest)
        parts = _read_parts(manifest, memoryview(data)[at + size :])
        network = parts.pop("network", None)
        return Package(
            manifest=manifest,
            arrays=_group(parts, "detector."),
            golden=Golden(
                _of_type(parts, "golden.value", "float64"),
                _of_type(parts, "golden.valid", "bool"),
                _of_type(parts, "golden.score", "float64"),
            ),
            network=b"" if network is None else network.tobytes(),
            calibration=_group(parts, "calibration."),
            alarm=_group(parts, "alarm."),
            verdict=_group(parts, "verdict."),
        )
    except (msgspec.DecodeError, ValueError) as error:  # a ValidationError is one of the first
        raise NeverRetry(f"the package does not fit together: {error}") from error


def _named(name: str, array: NDArray[Any]) -> _Part:
    if array.dtype.name not in DType.__args__:  # type: ignore[attr-defined]  # what a Literal is made of
        raise ValueError(f"part {name!r:.80} is {array.dtype}: one of {', '.join(DType.__args__)} is wanted")  # type: ignore[attr-defined]
    return _Part(name=name, dtype=array.dtype.name, shape=array.shape)  # type: ignore[arg-type]  # just looked


def _read_parts(manifest: Manifest, data: memoryview) -> dict[str, NDArray[Any]]:
    """The arrays, as read-only views of the file."""
    declared = sum(part.nbytes for part in manifest.parts)
    if declared != len(data):
        raise ValueError(
            f"its parts are {declared} bytes, and {len(data)} follow the manifest: it was cut off, or sewn on"
        )
    parts: dict[str, NDArray[Any]] = {}
    at = 0
    for part in manifest.parts:
        dtype = np.dtype(part.dtype).newbyteorder("<")
        flat = np.frombuffer(data[at : at + part.nbytes], np.uint8 if part.dtype == "bool" else dtype)
        if part.dtype == "bool":
            flat = flat != 0  # a byte that is neither 0 nor 1 is no bool
        parts[part.name] = flat.reshape(part.shape)
        at += part.nbytes
    return parts


def _group(parts: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}


def _of_type(parts: Mapping[str, NDArray[Any]], name: str, dtype: str) -> NDArray[Any]:
    if name not in parts or parts[name].dtype != dtype:
        raise ValueError(f"part {name!r} of {dtype} is missing")
    return parts[name]

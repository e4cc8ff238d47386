"""Poison models: packages nobody signed, and signed ones that are wrong in every way a package can be.

What a trusted key signed by mistake is told apart from what nobody signed: the first must be found out by its trial,
the second must not get as far.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from model_kit import KEY, STRANGER, network_package, pca_package, rows
from tflite_kit import dense_network, layers_of

from trueline_model.detectors import Deviation
from trueline_model.package import Golden, Package, write_package
from trueline_model.series import make_series
from trueline_model.verdict import fit_judge

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Poison", "Poisoner", "hang"]

_HEAD = 76
_WINDOW, _K = 8, 2


class Poison(NamedTuple):
    """A file, what is wrong with it, and whether the trusted key signed it."""

    data: bytes
    kind: str
    signed: bool


class Poisoner:
    """Makes poison out of one good package.

    Args:
        rng: all its random choices.
        version: of the packages; above the one that serves.
    """

    def __init__(self, rng: random.Random, version: int = 2) -> None:
        self._rng = rng
        self._package = network_package(version, window=_WINDOW, k=_K)
        self._file = write_package(self._package, KEY)
        self._unsigned: dict[str, Callable[[], bytes]] = {
            "bits turned": lambda: _turned(self._file, self._rng, 0, 64),
            "cut off": lambda: self._file[: self._rng.randrange(len(self._file))],
            "sewn on": lambda: self._file + self._rng.randbytes(self._rng.randrange(1, 100)),
            "a stranger's": lambda: write_package(self._package, STRANGER),
            "another's signature": self._other_signature,
            "manifest changed, not signed again": lambda: self._file[:_HEAD] + self._rewritten(version=9)[_HEAD:],
            "noise": lambda: self._rng.randbytes(self._rng.randrange(5000)),
        }
        self._signed: dict[str, Callable[[], bytes]] = {
            "network: bits turned": lambda: self._network(_turned(self._package.network, self._rng, 0, 64)),
            "network: cut off": lambda: self._network(self._package.network[: self._rng.randrange(1, 2000)]),
            "network: a piece of noise": lambda: self._network(self._noisy()),
            "network: another's weights": lambda: self._network(self._dense((_WINDOW, _K), (_WINDOW, _K))),
            "network: another window": lambda: self._network(self._dense((_WINDOW + 1, _K), (_WINDOW, _K))),
            "network: another answer": lambda: self._network(self._dense((_WINDOW, _K), (_WINDOW, _K + 1))),
            "network: two inputs": lambda: self._network(self._dense((_WINDOW, _K), (_WINDOW, _K), inputs=2)),
            "network: a batch of 4,096": lambda: self._network(self._dense((_WINDOW, _K), (_WINDOW, _K), batch=4096)),
            "network: float, where int8 was meant": lambda: self._network(
                self._dense((_WINDOW, _K), (_WINDOW, _K), int8=False)
            ),
            "network: NaN scale": lambda: self._network(self._dense((_WINDOW, _K), (_WINDOW, _K), step=float("nan"))),
            "network: none": lambda: write_package(dataclasses.replace(self._package, network=b""), KEY),
            "scale: NaN, infinite, zero": self._bad_scale,
            "arrays: one missing": lambda: self._arrays({"centre": self._package.arrays["centre"]}),
            "arrays: another shape": lambda: self._arrays({"centre": np.zeros(_K + 1), "scale": np.ones(_K + 1)}),
            "settings: rows of a million": lambda: self._settings(rows=1_000_000),
            "settings: nonsense": lambda: self._settings(**{self._rng.choice(["rows", "stride", "output"]): -1}),
            "settings: unknown kind": lambda: self._rewritten(kind="network of networks"),
            "settings: memory for a billion rows": memory_bomb,
            "verdict: no inverse": lambda: self._verdict({"precision": np.zeros((2 * _K, 2 * _K))}),
            "verdict: windows of no rows": lambda: self._verdict({"rows": np.array(0.0)}),
            "verdict: windows of a billion": lambda: self._verdict({"rows": np.array(1e9)}),
            "golden: another score": self._other_score,
            "golden: nothing said": self._silent,
            "manifest: noise": self._noisy_manifest,
            "parts: longer than the file": self._long_parts,
        }

    @property
    def kinds(self) -> int:
        """How many there are."""
        return len(self._unsigned) + len(self._signed)

    def make(self, number: int) -> Poison:
        """The poison of this number: signed and unsigned in turn, each kind after the other."""
        signed = number % 2 == 1
        kinds = self._signed if signed else self._unsigned
        kind = list(kinds)[number // 2 % len(kinds)]
        return Poison(kinds[kind](), kind, signed)

    # ------------------------------------------------------------ unsigned

    def _other_signature(self) -> bytes:
        other = write_package(network_package(1), KEY)
        return self._file[:12] + other[12:_HEAD] + self._file[_HEAD:]

    # ------------------------------------------------------------ signed

    def _network(self, network: bytes) -> bytes:
        return write_package(dataclasses.replace(self._package, network=network), KEY)

    def _dense(self, window: tuple[int, ...], answer: tuple[int, ...], **options: Any) -> bytes:
        widths = [int(np.prod(window)), 4, int(np.prod(answer))]
        return dense_network(layers_of(widths, self._rng.randrange(1000)), window, answer, **options)

    def _noisy(self) -> bytes:
        network = bytearray(self._package.network)
        at, size = self._rng.randrange(len(network)), self._rng.randrange(1, 200)
        network[at : at + size] = self._rng.randbytes(len(network[at : at + size]))
        return bytes(network)

    def _bad_scale(self) -> bytes:
        scale = np.ascontiguousarray(self._package.arrays["scale"]).tobytes()
        bad = np.full(_K, self._rng.choice([np.nan, np.inf, 0.0, -1.0, 1e-300])).tobytes()
        return _resigned(self._file[_HEAD:].replace(scale, bad))

    def _arrays(self, arrays: dict[str, NDArray[Any]]) -> bytes:
        return write_package(dataclasses.replace(self._package, arrays=arrays), KEY)

    def _verdict(self, changes: dict[str, NDArray[Any]]) -> bytes:
        good = fit_judge([make_series(rows(400, k=_K))], rows=10).arrays()
        return write_package(dataclasses.replace(self._package, verdict=good | changes), KEY)

    def _settings(self, **changes: Any) -> bytes:
        return self._rewritten(settings=self._package.manifest.settings | changes)

    def _other_score(self) -> bytes:
        golden = self._package.golden
        score = golden.score.copy()
        score[self._rng.randrange(20, len(score))] *= self._rng.choice([0.0, 0.5, 1.5, 100.0])
        return write_package(dataclasses.replace(self._package, golden=Golden(golden.value, golden.valid, score)), KEY)

    def _silent(self) -> bytes:
        score = self._package.golden.score.tobytes()
        return _resigned(self._file[_HEAD:].replace(score, np.full(len(score) // 8, np.nan).tobytes()))

    def _noisy_manifest(self) -> bytes:
        size = int.from_bytes(self._file[_HEAD : _HEAD + 4], "little")
        return _resigned(_turned(self._file, self._rng, _HEAD + 4, 8, _HEAD + 4 + size)[_HEAD:])

    def _long_parts(self) -> bytes:
        parts = msgspec.to_builtins(self._package.manifest)["parts"]
        return self._rewritten(parts=[*parts, {"name": "more", "dtype": "float64", "shape": [1 << 30, 1 << 30]}])

    def _rewritten(self, **changes: Any) -> bytes:
        size = int.from_bytes(self._file[_HEAD : _HEAD + 4], "little")
        start, end = _HEAD + 4, _HEAD + 4 + size
        text = msgspec.json.encode(msgspec.json.decode(self._file[start:end]) | changes)
        return _resigned(len(text).to_bytes(4, "little") + text + self._file[end:])


def memory_bomb() -> bytes:
    """A mean over a billion rows wants 16 GB."""
    good = pca_package(2)
    recipe = Deviation(mean_rows=1_000_000_000)
    manifest = msgspec.structs.replace(
        good.manifest, kind="deviation", settings={"mean_rows": recipe.mean_rows, "scaling": "robust"}
    )
    arrays = {name: good.arrays[name] for name in ("centre", "scale")}
    return write_package(dataclasses.replace(good, manifest=manifest, arrays=arrays), KEY)


def hang() -> bytes:
    """A good network, and so many golden rows that its trial is not done in time."""
    window, k, rows = 64, 2, 60_000
    network = dense_network(layers_of([window * k, 1500, 1500, 1500, window * k]), (window, k), (window, k))
    short = network_package(2, window=window, k=k, network=network)
    value = np.zeros((rows, k))
    return write_package(
        Package(
            manifest=short.manifest,
            arrays=short.arrays,
            golden=Golden(value, np.ones(value.shape, bool), np.arange(rows, dtype=np.float64)),
            network=network,
        ),
        KEY,
    )


def _turned(data: bytes, rng: random.Random, start: int, most: int, end: int | None = None) -> bytes:
    """Some bits of a stretch turned over."""
    turned = bytearray(data)
    for _ in range(rng.randrange(1, most + 1)):
        turned[rng.randrange(start, len(data) if end is None else end)] ^= 1 << rng.randrange(8)
    return bytes(turned)


def _resigned(rest: bytes) -> bytes:
    return b"TLMODEL1" + KEY.key_id + KEY.sign(b"TLMODEL1" + rest) + rest

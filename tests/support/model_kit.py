"""Model packages for tests: small, made on the spot, and signed by a key that is known."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trueline_edge.inference.trial import Cost, Limits, Tried
from trueline_model.alarm import Alarm, fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detectors import Network, Pca
from trueline_model.interval import fit_intervals
from trueline_model.judge import judge_of
from trueline_model.load import golden_of
from trueline_model.package import Golden, Input, Manifest, Package, Trained, read_package, write_package
from trueline_model.prediction import KIND, Feature, Prediction, Rehearsal
from trueline_model.scale import fit_scale
from trueline_model.series import make_series
from trueline_wire.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.keys import Verifier

KEY = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(32))
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def ring() -> KeyRing:
    """Trusts `KEY` as the cloud."""
    ring = KeyRing()
    ring.trust("cloud", KEY.public)
    return ring


def manifest(**changes: Any) -> Manifest:
    """Of a model of two channels."""
    settings: dict[str, Any] = {
        "name": "pump",
        "version": 1,
        "created": WHEN,
        "kind": "level",
        "settings": {"size": 4},
        "inputs": (
            Input(name="a", unit="Cel", minimum=-3.0, maximum=3.0),
            Input(name="b", unit="bar", minimum=0.0, maximum=9.0),
        ),
        "interval_s": 1.0,
        "trained": Trained(begin=WHEN, end=WHEN, rows=100, source="a test"),
    }
    return Manifest(**(settings | changes))


def golden(rows: int = 8, width: int = 2) -> Golden:
    """Rows whose scores are numbers."""
    value = np.arange(rows * width, dtype=np.float64).reshape(rows, width)
    return Golden(value, np.ones(value.shape, bool), np.arange(rows, dtype=np.float64))


def package(arrays: dict[str, NDArray[Any]] | None = None, **changes: Any) -> Package:
    """A package nobody can run, for tests of the file alone; changes are the manifest's."""
    return Package(
        manifest=manifest(**changes),
        arrays={"centre": np.zeros(2), "scale": np.ones(2)} if arrays is None else arrays,
        golden=golden(),
        network=b"not a network",
        calibration={"level": np.linspace(0.0, 1.0, 20)},
        alarm={"threshold": np.array(3.0)},
    )


def rows(n: int, seed: int = 0, k: int = 2) -> NDArray[np.float64]:
    """(n, k) of a slow cycle that all channels follow, with noise; the last ten rows do not."""
    rng = np.random.default_rng(seed)
    cycle = np.sin(np.arange(n) / 7.0)[:, None]
    value = 20.0 + 3.0 * cycle * (1.0 + np.arange(k)) + 0.1 * rng.normal(size=(n, k))
    value[-10:, 0] += 5.0
    return value


def network_package(
    version: int = 1, *, window: int = 8, k: int = 2, int8: bool = True, network: bytes = b"", **changes: Any
) -> Package:
    """A package around a linear autoencoder of windows (their principal directions); changes are the manifest's.

    Args:
        version: of it.
        window: rows of its windows.
        k: channels.
        int8: weights and activations; else float32.
        network: another one, in place of the one its golden rows were scored with.
        changes: of the manifest.
    """
    from tflite_kit import Layer, dense_network  # noqa: PLC0415 - needs LiteRT

    from trueline_edge.inference.litert import LiteRt  # noqa: PLC0415 - as above

    recipe = Network(rows=window)
    normal = make_series(rows(400, k=k)[:-10])
    scale = fit_scale([normal])
    seen = np.lib.stride_tricks.sliding_window_view(scale(normal.value, normal.valid), window, axis=0)
    flat = seen.transpose(0, 2, 1).reshape(len(seen), -1)
    directions = np.linalg.svd(flat, full_matrices=False)[2][:3]
    layers = [Layer(directions / 2.0, np.zeros(3)), Layer(directions.T * 2.0, np.zeros(window * k))]
    good = dense_network(layers, (window, k), (window, k), int8=int8, relu=False)
    arrays = {"centre": scale.centre, "scale": scale.scale}
    detector = recipe.detector(arrays, LiteRt(good, (window, k), (window, k)))
    value = rows(100, 1, k)
    value[40, 0] = np.nan
    return Package(
        manifest=manifest(
            kind="network",
            settings=detector.parts().settings,
            version=version,
            inputs=_inputs(k),
            **({"golden_tolerance": 0.01} | changes),
        ),
        arrays=arrays,
        golden=golden_of(detector, value, np.isfinite(value)),
        network=network or good,
    )


def pca_package(version: int = 1, *, k: int = 2, **changes: Any) -> Package:
    """A package of a statistical detector, fitted."""
    detector = Pca(variance_kept=0.8).fit([make_series(rows(200, k=k)[:-10])])
    kind, settings, arrays = detector.parts()
    value = rows(100, 1, k)
    return Package(
        manifest=manifest(kind=kind, settings=settings, version=version, inputs=_inputs(k), **changes),
        arrays=arrays,
        golden=golden_of(detector, value, np.isfinite(value)),
    )


def prediction_package(version: int = 1, *, step_s: float = 0.0, most: float | None = None, **changes: Any) -> Package:
    """A package that predicts the mean of channel a over four steps, give or take half; changes are the manifest's."""
    from tflite_kit import Layer, dense_network  # noqa: PLC0415 - needs LiteRT

    recipe = Prediction(
        target="mean of a",
        unit="Cel",
        rows=4,
        features=(Feature(0), Feature(1, "change")),
        origin=20.0,
        span=10.0,
        step_s=step_s,
        most=most,
    )
    mean = np.tile([0.25, 0.0], 4)
    network = dense_network([Layer(np.stack([mean] * 3), np.array([-0.5, 0.0, 0.5]))], (4, 2), (3,), relu=False)
    arrays = {"centre": np.array([20.0, 0.0]), "scale": np.array([10.0, 1.0])}
    rng = np.random.default_rng(4)
    said = 20.0 + np.array([-5.0, 0.0, 5.0]) + np.zeros((400, 1))
    intervals = fit_intervals(said, 20.0 + rng.normal(0.0, 3.0, 400), np.arange(400) // 4, floor=0.1)
    predictor = recipe.predictor(arrays, 2, _runner(network, (4, 2), (3,)))
    value = rows(40, 1)
    value[20, 0] = np.nan
    described = manifest(
        kind=KIND, settings=predictor.parts().settings, version=version, inputs=_inputs(2), golden_tolerance=0.01
    )
    return Package(
        manifest=msgspec.structs.replace(described, **changes),
        arrays=arrays,
        golden=golden_of(Rehearsal(predictor, described.interval_s), value, np.isfinite(value)),
        network=network,
        calibration=intervals.arrays(),
    )


def _inputs(k: int) -> tuple[Input, ...]:
    return tuple(Input(name="abcdefgh"[n], unit="1", minimum=0.0, maximum=40.0) for n in range(k))


def verified(data: bytes, verifier: Verifier, *, signer: str, limits: Limits, runtime: str = "") -> Tried:
    """A trial that believes the signature: for tests of what comes before and after the trial."""
    del limits
    package = read_package(data, verifier, signer)
    return Tried(package, Cost(row_us=1.0, batched_row_us=1.0, memory_bytes=0, size_bytes=len(data), runtime=runtime))


def calibrated(package: Package, *, rate: Alarm | None = None) -> Package:
    """The package with p-values, and an alarm of this rate, from its scores of normal running."""
    judge = judge_of(package, run=_runner)
    value = np.concatenate([rows(500, seed, len(package.manifest.inputs))[:-10] for seed in range(10, 20)])
    time_ns = np.arange(len(value)) * 10**9
    score = judge.detector.score(value, np.ones(value.shape, bool)).score
    calibration = calibrate(score)
    recipe = rate or Alarm(events=1.0, per_s=500.0, separation_s=5.0)
    alarming = fit_alarm(recipe, [(time_ns, calibration.surprise(score))])
    told = msgspec.structs.replace(package.manifest, alarm=msgspec.to_builtins(recipe), calibrated_s=float(len(value)))
    return replace(package, manifest=told, calibration=calibration.arrays(), alarm=alarming.arrays())


def _runner(network: bytes, window: tuple[int, ...], answer: tuple[int, ...]) -> Any:
    from trueline_edge.inference.litert import LiteRt  # noqa: PLC0415 - needs LiteRT

    return LiteRt(network, window, answer)


def kept(package: Package, name: str) -> Path:
    """The package as a file that lasts as long as this process: for configurations made while tests are collected."""
    path = Path(_folder().name) / f"{name}.tlm"
    path.write_bytes(write_package(package, KEY))
    return path


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="trueline-models-")


def text_of(public_key: bytes) -> str:
    """A public key as it is written in a configuration."""
    return base64.b64encode(public_key).decode()

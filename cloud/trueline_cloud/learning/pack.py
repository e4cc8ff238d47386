"""A fitted model as a signed package, with its calibration and its alarm, and what was measured of it.

Promises: calibration and alarm come from rows that neither the fit nor the choice of the model have seen, the first
half for the one, the second for the other; where they are too few for the alarm asked for, that is said, and the
package has none. Refuses to know terminals.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from trueline_cloud.learning.made import cost
from trueline_cloud.learning.manifest import inputs_of, interval_s_of, trained_on
from trueline_model.alarm import fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import score_series
from trueline_model.injection import inject
from trueline_model.load import golden_of
from trueline_model.package import Manifest, Package
from trueline_model.scale import fit_scale
from trueline_model.selection import average_precision
from trueline_model.verdict import fit_judge
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_cloud.learning.fit import Fitted
    from trueline_cloud.learning.made import Made
    from trueline_model.alarm import Alarm
    from trueline_model.detector import Detector
    from trueline_model.package import Golden
    from trueline_model.series import Series

Scored = tuple["NDArray[np.int64]", "NDArray[np.float64]"]
"""Times and scores of a recording."""

__all__ = ["Packed", "measured", "pack", "refused"]

_GOLDEN_ROWS: Final = 64
_GOLDEN_FAULTY: Final = 16
_GOLDEN_SCALES: Final = 4.0
_TOLERANCE: Final = 0.05
"""Of golden scores: int8 kernels of another processor may round the last step of a sum the other way."""


_TOLERANCE_FLOAT: Final = 1e-6
_INJECTIONS: Final = 5
_VERDICT_CHANNELS_MIN: Final = 2


class Packed(NamedTuple):
    """A package, and why it raises no alarm: "" where it does."""

    package: Package
    silent: str


def refused(alarm: Alarm, calibrate_part: Sequence[Series]) -> str:
    """Why the calibration part cannot support an alarm so rare; "" where it can. Nothing need be fitted to know."""
    _, second = _halves([(each.time_ns, np.zeros(len(each))) for each in calibrate_part])
    try:
        fit_alarm(alarm, second)
    except ConfigError as error:
        return str(error)
    return ""


def pack(
    made: Made, units: Sequence[str], name: str, version: int, source: str, alarm: Alarm, metrics: dict[str, float]
) -> Packed:
    """The package of a model, to be signed and written.

    Args:
        made: fitted.
        units: of its channels.
        name: of the model.
        version: of it.
        source: where the recordings came from, in words.
        alarm: what is asked of it.
        metrics: to stand in the manifest.

    Raises:
        ConfigError: too few rows for a calibration.
    """
    detector = made.detector
    known = [*made.parts.train, *(made.parts.validate if made.network is None else [])]
    first, second = _halves([(each.time_ns, score_series(detector, each).score) for each in made.parts.calibrate])
    calibration = calibrate(np.concatenate([score for _, score in first]))
    silent, alarming = "", None
    try:
        alarming = fit_alarm(alarm, [(time_ns, calibration.surprise(score)) for time_ns, score in second])
    except ConfigError as error:
        silent = str(error)
    kind, settings, arrays = detector.parts()
    return Packed(
        Package(
            manifest=Manifest(
                name=name,
                version=version,
                created=datetime.now(UTC),
                kind=kind,
                settings=settings,
                inputs=inputs_of(known, units),
                interval_s=interval_s_of(known),
                trained=trained_on(known, source),
                alarm=msgspec.to_builtins(alarm) if alarming else {},
                calibrated_s=sum(float(np.ptp(time_ns)) for time_ns, _ in second if len(time_ns)) / 1e9,
                metrics=metrics,
                golden_tolerance=_TOLERANCE if made.tflite else _TOLERANCE_FLOAT,
            ),
            arrays=arrays,
            golden=_golden(made),
            network=made.tflite,
            calibration=calibration.arrays(),
            alarm=alarming.arrays() if alarming else {},
            verdict=_verdict(known),
        ),
        silent,
    )


def _verdict(recordings: Sequence[Series]) -> dict[str, NDArray[Any]]:
    """What tells a sensor's fault from the process's; empty of one channel, or where the rows are too few for it."""
    if len(recordings[0].channels) < _VERDICT_CHANNELS_MIN:
        return {}
    try:
        arrays = fit_judge(recordings).arrays()
    except ConfigError:
        return {}
    # Matrices grow with the square of the channels, and seven digits of them are more than the data gave.
    return {name: values.astype(np.float32) if values.ndim > 1 else values for name, values in arrays.items()}


def measured(made: Made, seed: int = 0) -> dict[str, float]:
    """What a model costs and what it finds, among trouble put into the part it was not fitted to.

    `injected_ap` is the average precision over five seeds of trouble in the calibration part. Of a network also:
    `int8_loss` is what is lost of that against float (below 0: gained), `int8_difference` how far int8 scores lie from
    float ones there, relative.
    """
    network = made.network
    longest = max(made.parts.calibrate, key=len)
    size, latency = cost(made.detector, longest, len(made.tflite))
    alone = network is not None and made.detector is network.detector
    metrics = {"size_bytes": size, "latency_us": network.latency_us if network and alone else latency}
    found = _found(made.detector, made.parts.calibrate, seed)
    if found is not None:
        metrics["injected_ap"] = found
    if network:
        metrics |= {
            "operations": float(network.operations),
            "epochs": float(len(network.history)),
            "validation_loss": min(epoch.validation for epoch in network.history),
            "int8_difference": _difference(network),
        }
        small, whole = (_found(each, made.parts.calibrate, seed) for each in (network.detector, network.reference))
        if small is not None and whole:
            metrics |= {"injected_ap_float": whole, "int8_loss": 1.0 - small / whole}
    return metrics


def _found(detector: Detector, recordings: Sequence[Series], seed: int) -> float | None:
    precision = []
    for series in recordings:
        for number in range(_INJECTIONS):
            failed, held = inject(series, seed + number)
            if held.any():
                precision.append(average_precision(held > 0, score_series(detector, failed).score))
    return float(np.mean(precision)) if precision else None


def _difference(fitted: Fitted) -> float:
    pairs = [(score_series(fitted.detector, s).score, score_series(fitted.reference, s).score) for s in fitted.parts[2]]
    small, whole = (np.concatenate(each) for each in zip(*pairs, strict=True))
    said = np.isfinite(whole)
    return float(np.abs(small[said] - whole[said]).mean() / whole[said].mean())


def _halves(scored: Sequence[Scored]) -> tuple[list[Scored], list[Scored]]:
    """Of the rows, in order of time."""
    left = sum(len(score) for _, score in scored) // 2
    first, second = [], []
    for time_ns, score in scored:
        cut = min(left, len(score))
        left -= cut
        first += [(time_ns[:cut], score[:cut])] if cut else []
        second += [(time_ns[cut:], score[cut:])] if cut < len(score) else []
    return first, second


def _golden(made: Made) -> Golden:
    """Rows of normal running, the last of them far away: where int8 ends its numbers."""
    rows = max(made.parts.calibrate, key=len)[: made.detector.warm_up + _GOLDEN_ROWS]
    value = rows.value.copy()
    value[-_GOLDEN_FAULTY:] += _GOLDEN_SCALES * fit_scale(made.parts.train).scale
    return golden_of(made.detector, value, rows.valid)

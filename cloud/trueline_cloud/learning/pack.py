"""A trained network as a signed package, with its calibration and its alarm, and what was measured of it.

Promises: calibration and alarm come from rows that neither the weights nor the choice of the network have seen, the
first half for the one, the second for the other; where they are too few for the alarm asked for, that is said, and the
package has none. Refuses to know terminals.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score

from trueline_cloud.learning.inject import inject
from trueline_cloud.learning.manifest import inputs_of, interval_s_of, trained_on
from trueline_model.alarm import fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import score_series
from trueline_model.load import golden_of
from trueline_model.package import Manifest, Package
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_cloud.learning.fit import Fitted
    from trueline_model.alarm import Alarm
    from trueline_model.detectors.network import NetworkDetector
    from trueline_model.package import Golden
    from trueline_model.series import Series

Scored = tuple["NDArray[np.int64]", "NDArray[np.float64]"]
"""Times and scores of a recording."""

__all__ = ["Packed", "average_precision", "measured", "pack"]

_GOLDEN_ROWS: Final = 64
_GOLDEN_FAULTY: Final = 16
_GOLDEN_SCALES: Final = 4.0
_TOLERANCE: Final = 0.05
"""Of golden scores: int8 kernels of another processor may round the last step of a sum the other way."""

_INJECTIONS: Final = 5


class Packed(NamedTuple):
    """A package, and why it raises no alarm: "" where it does."""

    package: Package
    silent: str


def pack(
    fitted: Fitted, units: Sequence[str], name: str, version: int, source: str, alarm: Alarm, metrics: dict[str, float]
) -> Packed:
    """The package of a network, to be signed and written.

    Args:
        fitted: from `fit_network`.
        units: of its channels.
        name: of the model.
        version: of it.
        source: where the recordings came from, in words.
        alarm: what is asked of it.
        metrics: to stand in the manifest, beside those taken here.

    Raises:
        ConfigError: too few rows for a calibration.
    """
    detector = fitted.detector
    first, second = _halves([(each.time_ns, score_series(detector, each).score) for each in fitted.parts.calibrate])
    calibration = calibrate(np.concatenate([score for _, score in first]))
    silent, alarming = "", None
    try:
        alarming = fit_alarm(alarm, [(time_ns, calibration.surprise(score)) for time_ns, score in second])
    except ConfigError as error:
        silent = str(error)
    settings, arrays = detector.parts().settings, detector.parts().arrays
    return Packed(
        Package(
            manifest=Manifest(
                name=name,
                version=version,
                created=datetime.now(UTC),
                kind="network",
                settings=settings,
                inputs=inputs_of(fitted.parts.train, units),
                interval_s=interval_s_of(fitted.parts.train),
                trained=trained_on(fitted.parts.train, source),
                alarm=msgspec.to_builtins(alarm) if alarming else {},
                calibrated_s=sum(float(np.ptp(time_ns)) for time_ns, _ in second if len(time_ns)) / 1e9,
                metrics=metrics,
                golden_tolerance=_TOLERANCE,
            ),
            arrays=arrays,
            golden=_golden(detector, fitted.parts.calibrate),
            network=fitted.tflite,
            calibration=calibration.arrays(),
            alarm=alarming.arrays() if alarming else {},
        ),
        silent,
    )


def measured(fitted: Fitted, seed: int = 0) -> dict[str, float]:
    """What a network costs and what it finds, among faults put into the part it was not trained on.

    `injected_ap` is the average precision over five seeds of faults in the calibration part, `int8_loss` what is lost
    of it against float (below 0: gained), `int8_difference` how far int8 scores lie from float ones there, relative.
    """
    whole, small = [], []
    for series in fitted.parts.calibrate:
        for number in range(_INJECTIONS):
            failed, marked = inject(series, fitted.detector.scale, seed + number)
            if marked.any():
                small.append(average_precision(marked > 0, score_series(fitted.detector, failed).score))
                whole.append(average_precision(marked > 0, score_series(fitted.reference, failed).score))
    metrics = {
        "size_bytes": float(len(fitted.tflite)),
        "latency_us": fitted.latency_us,
        "operations": float(fitted.operations),
        "epochs": float(len(fitted.history)),
        "validation_loss": min(epoch.validation for epoch in fitted.history),
        "int8_difference": _difference(fitted),
    }
    if small:
        found, reference = float(np.mean(small)), float(np.mean(whole))
        metrics |= {"injected_ap": found, "injected_ap_float": reference, "int8_loss": 1.0 - found / reference}
    return metrics


def average_precision(anomalous: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Of the scores, NaN counting as the lowest; rows (n,)."""
    said = np.where(np.isfinite(score), score, -1.0)
    return float(average_precision_score(anomalous, said))


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


def _golden(detector: NetworkDetector, series: Sequence[Series]) -> Golden:
    """Rows of normal running, the last of them far away: where int8 ends its numbers."""
    rows = max(series, key=len)[: detector.warm_up + _GOLDEN_ROWS]
    value = rows.value.copy()
    value[-_GOLDEN_FAULTY:] += _GOLDEN_SCALES * detector.scale.scale
    return golden_of(detector, value, rows.valid)

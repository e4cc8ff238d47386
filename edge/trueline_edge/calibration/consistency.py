"""The sensor consistency test: sensors side by side in one place; which of them can be believed?

Promises: every sensor is compared with the reference where there is one, else with the median of the *others*, so that
a bad one does not judge itself; nor does it judge the others: the worst is left out of their medians, and all are
looked at again, until those that are left agree (the largest consistent subset, Cox, Metrologia 44, 2007). The first
part of the time says what is normal (phase I), the rest is judged by control charts (phase II); each verdict comes with
its reasons, in the unit of the measurand. Refuses to mend anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from trueline_edge.calibration.charts import Chart, cusum, ewma, shewhart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

__all__ = ["Examined", "Limits", "Metrics", "examine"]

_DAY_S = 86_400.0
_POINTS_MIN = 8
_SIDE_MIN = 2


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a sensor. A limit that is left out is not judged.

    Attributes:
        bias: largest mean difference from the others, in the unit of the measurand.
        spread: largest standard deviation of the difference.
        correlation: smallest correlation with the others.
        slope_error: largest deviation of the slope against the others from 1.
        drift_per_day: largest trend of the difference.
        completeness: smallest share of intervals with a reading.
        charts: "judge" makes a chart that is out inconsistent, "show" does not.
    """

    bias: float | None = None
    spread: float | None = None
    correlation: float | None = None
    slope_error: float | None = None
    drift_per_day: float | None = None
    completeness: float = 0.9
    charts: Literal["judge", "show"] = "judge"


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, over the time that was judged; NaN where too little was measured.

    Attributes:
        sensor: its column.
        verdict: "consistent", "inconsistent", or "not judged".
        reasons: why not consistent.
        readings: intervals with a reading.
        completeness: share of them.
        bias: mean difference.
        spread: standard deviation of the difference.
        correlation: with the comparison.
        slope: of a line through sensor against comparison.
        drift_per_day: of the difference (Theil-Sen).
        out_since: seconds from the start of the judged time until each chart went out, by its name.
    """

    sensor: str
    verdict: str
    reasons: tuple[str, ...]
    readings: int
    completeness: float
    bias: float
    spread: float
    correlation: float
    slope: float
    drift_per_day: float
    out_since: dict[str, float]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor with what its report shows.

    Attributes:
        metrics: see `Metrics`.
        difference: (n,) from the comparison, all of the time.
        judged: index of the first interval of phase II.
        charts: over phase II.
    """

    metrics: Metrics
    difference: F64
    judged: int
    charts: tuple[Chart, ...]


def examine(
    time_s: F64,
    value: F64,
    sensors: Sequence[str],
    *,
    limits: Limits,
    reference: F64 | None = None,
    baseline_share: float = 0.3,
) -> list[Examined]:
    """Compare sensors that stood side by side.

    Args:
        time_s: (n,) of intervals, rising.
        value: (n, k) means over the intervals; NaN where nothing was measured.
        sensors: k names.
        limits: what is asked.
        reference: (n,) what should have been measured; the median of the other sensors where left out.
        baseline_share: of the time, at the start, that says what is normal for the charts.

    Raises:
        ValueError: fewer than three sensors and no reference, or hardly any time.
    """
    if reference is None and len(sensors) <= _SIDE_MIN:
        raise ValueError(f"{len(sensors)} sensors without a reference: nobody can say which of two is wrong")
    judged = int(len(time_s) * baseline_share)
    if judged < _POINTS_MIN or len(time_s) - judged < _POINTS_MIN:
        raise ValueError(f"{len(time_s)} intervals are too few: {_POINTS_MIN} before and after the baseline are needed")
    if reference is not None:
        return [_examine_one(time_s, value[:, k], reference, s, limits, judged) for k, s in enumerate(sensors)]
    trusted = list(range(len(sensors)))
    while True:
        found = []
        for k, sensor in enumerate(sensors):
            others = _median_of(value[:, [t for t in trusted if t != k]])
            found.append(_examine_one(time_s, value[:, k], others, sensor, limits, judged))
        wrong = [k for k in trusted if found[k].metrics.verdict != "consistent"]
        if not wrong or len(trusted) <= _SIDE_MIN + 1:
            return found
        trusted.remove(max(wrong, key=lambda k: _distance(found[k])))


def _distance(each: Examined) -> float:
    """How far a sensor is from the others, in its own normal spread; the furthest is trusted least."""
    normal, late = each.difference[: each.judged], each.difference[each.judged :]
    if not np.isfinite(late).any():
        return float("inf")
    spread = float(np.nanstd(normal)) if np.isfinite(normal).any() else 0.0
    return float(np.sqrt(np.nanmean((late - np.nanmean(normal)) ** 2)) / spread) if spread > 0 else float("inf")


def _examine_one(time_s: F64, value: F64, others: F64, sensor: str, limits: Limits, judged: int) -> Examined:
    difference = value - others
    normal = difference[:judged][np.isfinite(difference[:judged])]
    late = np.isfinite(difference[judged:])
    charts: tuple[Chart, ...] = ()
    if len(normal) >= _POINTS_MIN and normal.std() > 0:
        z = (difference[judged:] - normal.mean()) / normal.std(ddof=1)
        charts = (shewhart(z), ewma(z), cusum(z))
    readings = int(np.isfinite(value[judged:]).sum())
    there = int(np.isfinite(others[judged:]).sum())
    numbers = _numbers(time_s[judged:][late], value[judged:][late], others[judged:][late])
    since = {
        chart.name: float(time_s[judged + chart.first] - time_s[judged]) for chart in charts if chart.first is not None
    }
    metrics = Metrics(
        sensor=sensor,
        verdict="",
        reasons=(),
        readings=readings,
        completeness=readings / max(there, 1),
        out_since=since,
        **numbers,
    )
    reasons = tuple(_reasons(metrics, charts, limits))
    short = int(late.sum()) < _POINTS_MIN
    verdict = "not judged" if short and readings else "inconsistent" if reasons else "consistent"
    metrics = msgspec.structs.replace(metrics, verdict=verdict, reasons=reasons)
    return Examined(metrics=metrics, difference=difference, judged=judged, charts=charts)


def _numbers(time_s: F64, value: F64, others: F64) -> dict[str, float]:
    nothing = dict.fromkeys(("bias", "spread", "correlation", "slope", "drift_per_day"), float("nan"))
    if len(value) < _POINTS_MIN:
        return nothing
    difference = value - others
    varies = value.std() > 0 and others.std() > 0
    return {
        "bias": float(difference.mean()),
        "spread": float(difference.std(ddof=1)),
        "correlation": float(np.corrcoef(value, others)[0, 1]) if varies else 0.0,
        "slope": float(np.polyfit(others - others.mean(), value, 1)[0]) if others.std() > 0 else float("nan"),
        "drift_per_day": _theil_sen(time_s, difference) * _DAY_S,
    }


def _reasons(metrics: Metrics, charts: Sequence[Chart], limits: Limits) -> list[str]:
    found = []
    if not metrics.completeness >= limits.completeness:
        found.append(f"readings in {metrics.completeness:.0%} of the intervals, {limits.completeness:.0%} are asked")
    above = (
        ("bias", abs(metrics.bias), limits.bias),
        ("spread", metrics.spread, limits.spread),
        ("deviation of the slope from 1", abs(metrics.slope - 1.0), limits.slope_error),
        ("drift per day", abs(metrics.drift_per_day), limits.drift_per_day),
    )
    found += [
        f"{name} {got:.3g}, at most {limit:.3g} is asked"
        for name, got, limit in above
        if limit is not None and got > limit
    ]
    if limits.correlation is not None and not metrics.correlation >= limits.correlation:
        found.append(f"correlation {metrics.correlation:.3f}, at least {limits.correlation:.3f} is asked")
    if limits.charts == "judge":
        for chart in charts:
            share = float(chart.out.mean())
            if share > _CHANCE[chart.name]:
                found.append(f"{chart.name} chart out of control in {share:.0%} of the points")
    return found


_CHANCE = {"shewhart": 0.03, "ewma": 0.05, "cusum": 0.1}
"""Points out of a chart in control stay below these shares; more is no chance any more."""


def _median_of(others: F64) -> F64:
    """(n,) median of what was measured; NaN where fewer than two were."""
    result = np.full(len(others), np.nan)
    enough = np.isfinite(others).sum(axis=1) >= _SIDE_MIN
    result[enough] = np.nanmedian(others[enough], axis=1)
    return result


def _theil_sen(time_s: F64, value: F64) -> float:
    """Median of all slopes, over at most 400 points (Sen, J. Am. Stat. Assoc. 63, 1968)."""
    picked = np.linspace(0, len(value) - 1, min(len(value), 400)).astype(np.intp)
    t, v = time_s[picked], value[picked]
    i, j = np.triu_indices(len(t), 1)
    return float(np.median((v[j] - v[i]) / (t[j] - t[i])))

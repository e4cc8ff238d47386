"""The report of `trueline-edge consistency`, put together."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from trueline_edge.calibration.report import page, picture, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trueline_edge.calibration.consistency import Examined

    F64 = NDArray[np.float64]

__all__ = ["consistency_page"]

_DAY_S = 86_400.0
_HEAD = ("sensor", "readings", "complete", "bias", "spread", "correlation", "slope", "drift a day", "out since [d]")


def consistency_page(time_s: F64, found: Sequence[Examined], against: str, interval_s: float) -> str:
    """The HTML of a consistency test.

    Args:
        time_s: (n,) of intervals.
        found: the sensors.
        against: what they were compared with, as HTML.
        interval_s: length of an interval.
    """
    verdicts = "".join(
        f"<li><b>{html.escape(m.sensor)}</b>: <span class={'good' if m.verdict == 'consistent' else 'bad'}>"
        f"{html.escape(m.verdict)}</span> {html.escape('; '.join(m.reasons))}</li>"
        for m in (each.metrics for each in found)
    )
    rows = [
        [
            m.sensor,
            m.readings,
            f"{m.completeness:.1%}",
            m.bias,
            m.spread,
            m.correlation,
            m.slope,
            m.drift_per_day,
            ", ".join(f"{name} {since / _DAY_S:.2f}" for name, since in m.out_since.items()) or "in control",
        ]
        for m in (each.metrics for each in found)
    ]
    parts = [f"<p>Means over {interval_s:g} s, compared with {against}.</p><ul>{verdicts}</ul>", table(_HEAD, rows)]
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}):
        parts += [_pictures(time_s, each) for each in found]
    return page("Consistency of sensors", parts)


def _pictures(time_s: F64, each: Examined) -> str:
    figure = Figure(figsize=(9.5, 6.0), layout="constrained")
    axes = figure.subplots(1 + len(each.charts), 1, sharex=True, squeeze=False)[:, 0]
    days = (time_s - time_s[0]) / _DAY_S
    axes[0].plot(days, each.difference, ".", ms=3, color="#4477aa")
    axes[0].axvspan(0, days[each.judged], color="#dddddd", alpha=0.6, lw=0)
    axes[0].set(ylabel="difference", title=f"{each.metrics.sensor}: {each.metrics.verdict}")
    late = days[each.judged :]
    for axis, chart in zip(axes[1:], each.charts, strict=True):
        axis.plot(late, chart.statistic, lw=0.8, color="#222222")
        axis.plot(late, chart.limit, "--", late, -chart.limit, "--", lw=0.8, color="#cc6677")
        axis.plot(late[chart.out], chart.statistic[chart.out], ".", ms=4, color="#cc6677")
        axis.set(ylabel=chart.name)
    axes[-1].set(xlabel="days; grey: the time that says what is normal")
    return picture(figure, f"{each.metrics.sensor}: difference, and control charts in standard deviations of it.")

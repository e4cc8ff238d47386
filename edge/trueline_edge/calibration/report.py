"""The report of a calibration: one HTML file with its pictures inside, nothing fetched, nothing run."""

from __future__ import annotations

import base64
import html
import io
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from trueline_edge.calibration.checking import Applied, Score, apply_to, coverage_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data
    from trueline_edge.calibration.file import Calibration

    F64 = NDArray[np.float64]

__all__ = ["in_brackets", "page", "picture", "pictures", "table"]

_DAY_S = 86_400.0
_FITTED, _CHECKED, _BAND, _LINE = "#4477aa", "#cc6677", "#bbbbbb", "#222222"

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{margin:1rem 0}img{max-width:100%;height:auto}
figcaption{color:#555}.bad{color:#a3263a;font-weight:600}.good{color:#1a6b3c;font-weight:600}
pre{background:#f5f5f5;padding:.7rem;overflow-x:auto;font-size:13px}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole HTML page of parts that are HTML already."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    view = '<meta name=viewport content="width=device-width">'
    return f"{head}{view}<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{''.join(parts)}</html>\n"


def in_brackets(unit: str) -> str:
    """Of a UCUM code; one that stands in brackets already, such as "[ppb]", as it is."""
    return unit if unit.startswith("[") and unit.endswith("]") else f"[{unit}]"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers to the right."""

    def cell(content: object) -> str:
        if isinstance(content, float):
            return f"<td class=n>{content:.4g}</td>"
        return f"<td{' class=n' if isinstance(content, int) else ''}>{html.escape(str(content))}</td>"

    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def picture(figure: Figure, caption: str) -> str:
    """A figure as HTML, its PNG inside."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    encoded = base64.b64encode(file.getvalue()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{encoded}"><figcaption>{text}</figcaption></figure>'


def pictures(calibration: Calibration, fitted: Data, checked: Data, unit: str) -> list[str]:
    """The pictures of a calibration: pairs it was fitted to, and pairs after them that it had not seen."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        both = [(data, apply_to(calibration, data)) for data in (fitted, checked)]
        drawn = [_scatter(both, calibration.channel, unit), _over_time(both, unit), _agreement(both, unit)]
        drawn += [_against(both, name, unit) for name in fitted.conditions]
        drawn += [_coverage(both), _drift(both, unit)]
        return drawn


Both = "list[tuple[Data, Applied]]"


def _figure(count: int = 1, height: float = 3.4) -> tuple[Figure, Any]:
    figure = Figure(figsize=(9.5, height), layout="constrained")
    return figure, figure.subplots(1, count)


def _points(axes: Axes, x: Sequence[F64], y: Sequence[F64]) -> None:
    names, colours = ("fitted", "after, not seen"), (_FITTED, _CHECKED)
    for name, colour, across, up in zip(names, colours, x, y, strict=True):
        axes.plot(across, up, ".", ms=3, alpha=0.5, color=colour, label=name, rasterized=True)


def _scatter(both: list[tuple[Data, Applied]], channel: str, unit: str) -> str:
    figure, (left, right) = _figure(2)
    reference = [data.reference for data, _ in both]
    _points(left, reference, [data.raw[channel] for data, _ in both])
    _points(right, reference, [applied.value for _, applied in both])
    ends = [min(map(np.min, reference)), max(map(np.max, reference))]
    for axes, name in ((left, "raw"), (right, f"corrected {in_brackets(unit)}")):
        axes.plot(ends, ends, color=_LINE, lw=0.8)
        axes.set(xlabel=f"reference {in_brackets(unit)}", ylabel=name)
    right.legend(frameon=False, markerscale=3)
    return picture(figure, "Raw and corrected readings against the reference; the line is equality.")


def _over_time(both: list[tuple[Data, Applied]], unit: str) -> str:
    figure, axes = _figure()
    start = both[0][0].time_s[0]
    days = [(data.time_s - start) / _DAY_S for data, _ in both]
    for x, (_, applied) in zip(days, both, strict=True):
        axes.fill_between(x, -1.96 * applied.u, 1.96 * applied.u, color=_BAND, alpha=0.5, lw=0)
    _points(axes, days, [applied.value - data.reference for data, applied in both])
    axes.axhline(0.0, color=_LINE, lw=0.8)
    axes.set(xlabel="days", ylabel=f"corrected - reference {in_brackets(unit)}")
    axes.legend(frameon=False, markerscale=3)
    return picture(figure, "Residuals over time, with the 95 % interval that was stated.")


def _against(both: list[tuple[Data, Applied]], name: str, unit: str) -> str:
    figure, axes = _figure()
    _points(axes, [data.raw[name] for data, _ in both], [applied.value - data.reference for data, applied in both])
    axes.axhline(0.0, color=_LINE, lw=0.8)
    axes.set(xlabel=name, ylabel=f"corrected - reference {in_brackets(unit)}")
    axes.legend(frameon=False, markerscale=3)
    return picture(figure, f"Residuals against {name}: a slope here is a dependence that was not corrected.")


def _agreement(both: list[tuple[Data, Applied]], unit: str) -> str:
    figure, axes = _figure()
    difference = [applied.value - data.reference for data, applied in both]
    _points(axes, [(applied.value + data.reference) / 2 for data, applied in both], difference)
    mean, spread = float(difference[1].mean()), float(difference[1].std())
    for level, style in ((mean, "-"), (mean - 1.96 * spread, "--"), (mean + 1.96 * spread, "--")):
        axes.axhline(level, color=_LINE, lw=0.9, ls=style)
    axes.set(xlabel=f"mean of corrected and reference {in_brackets(unit)}", ylabel=f"difference {in_brackets(unit)}")
    return picture(figure, f"Bland-Altman: bias {mean:.3g}, limits of agreement +-{1.96 * spread:.3g} (after).")


def _coverage(both: list[tuple[Data, Applied]]) -> str:
    figure, axes = _figure()
    nominal = np.linspace(0.05, 0.99, 40)
    factors = np.array([NormalDist().inv_cdf(0.5 + share / 2) for share in nominal])
    for (data, applied), colour, name in zip(both, (_FITTED, _CHECKED), ("fitted", "after, not seen"), strict=True):
        axes.plot(100 * nominal, 100 * coverage_at(applied, data.reference, factors), color=colour, label=name)
    axes.plot([0, 100], [0, 100], color=_LINE, lw=0.8)
    axes.set(xlabel="stated interval [%]", ylabel="pairs inside [%]")
    axes.legend(frameon=False, markerscale=3)
    return picture(figure, "Coverage: above the line the stated uncertainty is too large, below it too small.")


def _drift(both: list[tuple[Data, Applied]], unit: str) -> str:
    figure, axes = _figure()
    start = both[0][0].time_s[0]
    for (data, applied), colour in zip(both, (_FITTED, _CHECKED), strict=True):
        day = np.floor((data.time_s - start) / _DAY_S)
        each = np.unique(day)
        mean = [float((applied.value - data.reference)[day == d].mean()) for d in each]
        axes.plot(each, mean, "o-", ms=4, lw=1, color=colour)
    axes.axhline(0.0, color=_LINE, lw=0.8)
    axes.set(xlabel="days", ylabel=f"daily mean residual {in_brackets(unit)}")
    return picture(figure, "Drift: means of the residuals by day.")


def score_rows(scores: dict[str, Score]) -> list[list[object]]:
    """Rows for `table`, in the order of the attributes."""
    return [
        [name, s.pairs, s.rmse, s.bias, s.correlation, f"{s.coverage_95:.1%}", f"{s.coverage_50:.1%}", s.u_median]
        for name, s in scores.items()
    ]

"""The report of a training: one HTML file with its pictures inside, nothing fetched, nothing run."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np

from trueline_cloud.learning.pages import LINE, MARK, OTHER, figure_of, picture, table, whole
from trueline_model.alarm import Alarm, Alarming
from trueline_model.conformal import Calibration
from trueline_model.detector import score_series
from trueline_model.injection import KINDS, inject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_cloud.learning.choose import Choice
    from trueline_cloud.learning.fit import Fitted
    from trueline_cloud.learning.made import Made
    from trueline_cloud.learning.pack import Packed
    from trueline_model.series import Series

__all__ = ["page"]

_UNALARMED_P: Final = 0.01
_WORST: Final = 3
_AROUND: Final = 60
_CHANNELS: Final = 3
_POINTS: Final = 4000
_INJECTIONS: Final = 5


def page(made: Made, packed: Packed, tried: Sequence[Choice]) -> str:
    """The whole page.

    Args:
        made: the model.
        packed: its package.
        tried: what was compared, the one taken first; none where the model was named.
    """
    manifest, network = packed.package.manifest, made.network
    title = f"{manifest.name} {manifest.version}: {made.name}"
    calibration = Calibration.from_arrays(packed.package.calibration)
    heads = ("model", "average precision", "spread", "rows", "judged", "rate")
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        parts = [
            _summary(made, packed),
            "<h2>Compared, the one taken first</h2>" + table(heads, _tried(tried)) if tried else "",
            "<h2>Training</h2>" + _curves(network) if network else "",
            "<h2>int8 against float</h2>" + _agreement(network) if network else "",
            "<h2>Trouble put into held-back rows</h2>" + _confusion(made, packed, calibration),
            "<h2>Worst of the held-back rows</h2>" + _worst(made),
        ]
    return whole(title, "".join(parts))


def _summary(made: Made, packed: Packed) -> str:
    manifest = packed.package.manifest
    rows: list[tuple[str, object]] = [
        ("trained on", f"{manifest.trained.rows:,} rows of {manifest.trained.source}"),
        ("from, to", f"{manifest.trained.begin:%Y-%m-%d %H:%M} to {manifest.trained.end:%Y-%m-%d %H:%M} UTC"),
        *(
            [("window", f"{made.network.recipe.rows} rows, {made.network.recipe.output}")]
            if made.network
            else [("settings", str(manifest.settings))]
        ),
        ("channels", ", ".join(f"{one.name} [{one.unit}]" for one in manifest.inputs)),
        *manifest.metrics.items(),
    ]
    silent = f"<p class=bad>It raises no alarm: {html.escape(packed.silent)}</p>" if packed.silent else ""
    return silent + table(("what", "how much"), rows)


def _tried(tried: Sequence[Choice]) -> list[tuple[object, ...]]:
    return [
        (each.name, each.merit, each.spread, *((each.rows, each.judged, each.rate) if each.rows else ("", "", "")))
        for each in tried
    ]


def _curves(fitted: Fitted) -> str:
    figure, axes = figure_of()
    rounds = [epoch.number for epoch in fitted.history]
    axes.semilogy(rounds, [epoch.loss for epoch in fitted.history], color=LINE, label="training, cells hidden")
    axes.semilogy(rounds, [epoch.validation for epoch in fitted.history], color=OTHER, label="validation")
    best = min(fitted.history, key=lambda epoch: epoch.validation)
    axes.axvline(best.number, color=MARK, lw=0.8)
    axes.set(xlabel="round", ylabel="mean square, in scales")
    axes.legend(frameon=False)
    return picture(figure, "Loss by round. The line is the round whose weights were kept.")


def _agreement(fitted: Fitted) -> str:
    figure, axes = figure_of()
    longest = max(fitted.parts.calibrate, key=len)[:_POINTS]
    whole, small = score_series(fitted.reference, longest).score, score_series(fitted.detector, longest).score
    axes.loglog(whole, small, ".", ms=3, alpha=0.5, color=LINE, rasterized=True)
    ends = [np.nanmin(whole), np.nanmax(whole)]
    axes.loglog(ends, ends, color=MARK, lw=0.8)
    axes.set(xlabel="score in float", ylabel="score in int8")
    return picture(figure, "Scores of held-back rows by the int8 network and the float one; the line is equality.")


def _confusion(made: Made, packed: Packed, calibration: Calibration) -> str:
    """Rows in alarm, by what was put into them."""
    rule, flagged, kinds = f"p at most {_UNALARMED_P}", [], []
    alarming = None
    if packed.package.alarm:
        recipe = Alarm(**packed.package.manifest.alarm)
        alarming, rule = Alarming.from_arrays(recipe, packed.package.alarm), "in alarm"
    for series, seed in itertools.product(made.parts.calibrate, range(_INJECTIONS)):
        failed, kind = inject(series, seed)
        surprise = calibration.surprise(score_series(made.detector, failed).score)
        found = surprise >= -np.log10(_UNALARMED_P) if alarming is None else alarming(failed.time_ns, surprise).alarm
        flagged.append(found)
        kinds.append(kind)
    found, kind = np.concatenate(flagged), np.concatenate(kinds)
    rows = [
        (name, int((kind == number).sum()), int((found & (kind == number)).sum()), float(found[kind == number].mean()))
        for number, name in enumerate(("nothing", *KINDS))
        if (kind == number).any()
    ]
    return table(("put in", "rows", rule, "share"), rows)


def _worst(made: Made) -> str:
    """The highest scores of normal running: what will come as false alarms, or was not normal."""
    drawn = []
    longest = max(made.parts.calibrate, key=len)
    scored = score_series(made.detector, longest)
    left = np.where(np.isfinite(scored.score), scored.score, -1.0)
    for _ in range(_WORST):
        at = int(left.argmax())
        if left[at] < 0.0:
            break
        rows = slice(max(0, at - _AROUND), at + _AROUND)
        drawn.append(_stretch(longest, rows, at, scored.score, scored.contribution[at]))
        left[rows] = -1.0
    return "".join(drawn)


def _stretch(series: Series, rows: slice, at: int, score: Any, contribution: Any) -> str:
    most = np.argsort(-contribution)[:_CHANNELS]
    figure, axes = figure_of(len(most) + 1)
    for place, j in zip(axes, most, strict=False):
        place.plot(np.where(series.valid[rows, j], series.value[rows, j], np.nan), color=LINE)
        place.set_title(f"{series.channels[j]}: {contribution[j] / max(contribution.sum(), 1e-300):.0%}")
    axes[-1].plot(score[rows], color=OTHER)
    axes[-1].set_title("score")
    return picture(figure, f"Row {at} of the longest recording held back: the channels that contributed most.")

"""The report of a prediction: what units that were not learnt from should have had said of them, and had."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
import numpy as np

from trueline_cloud.learning.pages import LINE, MARK, OTHER, figure_of, picture, table, whole

if TYPE_CHECKING:
    from trueline_cloud.learning.prediction.fit import Foretold
    from trueline_model.package import Manifest

__all__ = ["page"]

_SHOWN: Final = 3
_POINTS: Final = 3000
_COVERAGE: Final = 0.9


def page(foretold: Foretold, manifest: Manifest) -> str:
    """The whole page."""
    recipe = foretold.predictor.recipe
    rows: list[tuple[str, object]] = [
        ("predicts", f"{recipe.target} [{recipe.unit}]"),
        ("from", ", ".join(f"{one.name} [{one.unit}]" for one in manifest.inputs)),
        ("window", f"{recipe.rows} steps" + (f" of {recipe.step_s:g} s" if recipe.step_s else "")),
        ("trained on", f"{manifest.trained.rows:,} rows of {manifest.trained.source}"),
        *manifest.metrics.items(),
    ]
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        parts = [
            table(("what", "how much"), rows),
            "<h2>Units not learnt from</h2>" + _scatter(foretold),
            _units(foretold),
            "<h2>Training</h2>" + _curves(foretold),
        ]
    return whole(f"{manifest.name} {manifest.version}: {html.escape(recipe.target)}", "".join(parts))


def _scatter(foretold: Foretold) -> str:
    figure, axes = figure_of()
    some = np.random.default_rng(0).permutation(len(foretold.said))[:_POINTS]
    truth = foretold.asked.target[some]
    axes.plot(truth, foretold.said[some, 1], ".", ms=3, alpha=0.4, color=LINE, rasterized=True)
    axes.plot([truth.min(), truth.max()], [truth.min(), truth.max()], color=MARK, lw=0.8)
    unit = foretold.predictor.recipe.unit
    axes.set(xlabel=f"truth [{unit}]", ylabel=f"predicted [{unit}]")
    return picture(
        figure, "Each window predicted by a network that had seen nothing of its unit; the line is equality."
    )


def _units(foretold: Foretold) -> str:
    """The unit that is predicted best, a usual one, and the worst."""
    asked, said, recipe = foretold.asked, foretold.said, foretold.predictor.recipe
    units = np.unique(asked.unit)
    away = [float(np.sqrt(np.mean((said[asked.unit == u, 1] - asked.target[asked.unit == u]) ** 2))) for u in units]
    order = units[np.argsort(away)]
    figure, axes = figure_of(_SHOWN)
    coverage = min(_COVERAGE, foretold.intervals.coverage_max)
    for place, unit in zip(axes, (order[0], order[len(order) // 2], order[-1]), strict=True):
        rows = asked.unit == unit
        low, high = (recipe.clipped(end) for end in foretold.intervals(said[rows], coverage))
        x = np.arange(rows.sum())
        place.fill_between(x, low, high, color=LINE, alpha=0.25, lw=0)
        place.plot(x, said[rows, 1], color=LINE, lw=1)
        place.plot(x, asked.target[rows], color=OTHER, lw=1)
    return picture(
        figure, f"Best, usual and worst unit: predicted with its {coverage:.0%} interval, and the truth (red)."
    )


def _curves(foretold: Foretold) -> str:
    figure, axes = figure_of()
    rounds = [epoch.number for epoch in foretold.history]
    axes.plot(rounds, [epoch.loss for epoch in foretold.history], color=LINE, label="training, cells hidden")
    axes.plot(rounds, [epoch.validation for epoch in foretold.history], color=OTHER, label="validation")
    axes.set(xlabel="round", ylabel="pinball loss, of the target's span")
    axes.legend(frameon=False)
    return picture(figure, "Loss by round of the network that was trained on all units.")

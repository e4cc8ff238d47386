"""The report of `trueline-edge calibrate`, put together."""

from __future__ import annotations

import html
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from trueline_edge.calibration.checking import apply_to, score_of
from trueline_edge.calibration.file import dump_calibration
from trueline_edge.calibration.report import in_brackets, page, pictures, score_rows, table

if TYPE_CHECKING:
    from trueline_edge.calibration.candidates import Data
    from trueline_edge.calibration.file import Calibration
    from trueline_edge.calibration.fitting import Fit

__all__ = ["calibration_page"]

_TERMS_SHOWN = 8
_MINUTE_S = 60.0


def calibration_page(
    made: Calibration, single: Calibration, fitted: Data, checked: Data, found: Fit, outcome: dict[str, Any]
) -> str:
    """The HTML of a calibration.

    Args:
        made: with the uncertainty of pairs.
        single: as written, with the uncertainty of single readings.
        fitted: pairs it was fitted to.
        checked: pairs after them.
        found: how it was found.
        outcome: what the command says.
    """
    scores = {
        "fitted": score_of(apply_to(made, fitted), fitted.reference),
        "after, not seen": score_of(apply_to(made, checked), checked.reference),
    }
    head = ["", "pairs", f"RMSE {in_brackets(made.unit)}", "bias", "correlation", "in 95 %", "in 50 %", "median u"]
    unseen = scores["after, not seen"].doubtful
    how = (
        "Each was fitted to the first and to the last parts of the pairs, and scored on what lies after or before. "
        f"Taken: {found.taken}."
    )
    parts = [
        f"<p>{html.escape(_clock(outcome))} Each pair averages {outcome['readings_per_pair']:.3g} readings.</p>",
        f"<p>{unseen:.0%} of the pairs after the calibration lie outside its range.</p>",
        table(head, score_rows(scores)),
        "<h2>Pictures</h2>",
        *pictures(made, fitted, checked, made.unit),
        "<h2>Models by their error out of time</h2>",
        f"<p>{how}</p>",
        table(["model", f"RMSE {in_brackets(made.unit)}"], sorted(found.rmse.items(), key=itemgetter(1))),
        *(
            [table(["weight and terms of the candidates"], [[w] for w in found.terms[:_TERMS_SHOWN]])]
            if found.terms
            else []
        ),
        "<h2>The calibration file</h2>",
        f"<pre>{html.escape(dump_calibration(single))}</pre>",
    ]
    return page(f"Calibration {made.id}", parts)


def _clock(outcome: dict[str, Any]) -> str:
    offset_s = float(outcome["clock_offset_s"])
    said = "The clocks were taken as they are."
    if outcome["clock_certain"]:
        said = f"The raw clock was found {offset_s / _MINUTE_S:.4g} min ahead of the reference's; that was taken off."
    if lag_s := outcome["time_constant_s"]:
        said += f" The sensor lags by {lag_s:.4g} s (u {outcome['u_time_constant_s']:.2g} s), which is undone first."
    return said

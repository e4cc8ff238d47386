"""Tables of `detect.py`, and how they get into the page: between `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

HEADS = {
    "ap": "AP",
    "ap_float": "AP float",
    "vus_pr": "VUS-PR",
    "f1": "best F1",
    "event_recall": "events at 1 false a day",
    "delay_rows": "delay, rows",
    "events_found": "events found",
    "before_share": "rows before in alarm",
    "nab": "NAB",
    "nab_at_development": "NAB held back, threshold of the others",
    "nab_untuned": "NAB untuned",
    "held_ap": "held-back AP",
    "held_vus_pr": "held-back VUS-PR",
    "held_events_found": "held-back events found",
    "held_before_share": "held-back rows before in alarm",
    "held_nab": "held-back NAB",
    "held_nab_untuned": "held-back NAB untuned",
    "us": "µs a row",
    "kb": "KB",
}
"""What is shown, in this order, where a set has it."""

_DIGITS = {"us": 1, "kb": 1, "nab": 1, "nab_untuned": 1, "held_nab": 1, "held_nab_untuned": 1, "delay_rows": 1}
_DIGITS |= {"nab_at_development": 1, "events_found": 1, "held_events_found": 1}
_SAID = 5e-4

PUBLISHED = {
    "smd": "Published, not run here: on the 17 multi-channel sets of TSB-AD (SMD among them) VUS-PR is 0.43 for PaAno "
    "(arXiv:2602.01359) and 0.31 for the best of the official list (CNN; Liu and Paparrizos, NeurIPS 2024).",
    "skab": "Published, not run here: Conv-AE finds 31 of 34 events with 8.2 % of the rows before in alarm.",
    "nab": "Published, not run here, on all 58 series, with the threshold searched as here (the set's own scoreboard, "
    "standard profile): Numenta HTM 70.5, CAD OSE 69.9, KNN-CAD 58.0, relative entropy 54.6, random cut forest 51.7, "
    "windowed Gaussian 39.6, Bayesian changepoint 17.7, EXPoSE 16.4, random 11.0.",
}
"""Leaders beside ours."""


def table(name: str, result: dict[str, Any]) -> str:
    """One set as a table, the best first, `auto` in bold; means over seeds, ± their standard deviation."""
    keys = [key for key in HEADS if any(key in found for found in result.values())]
    lead = "nab" if "nab" in keys else "ap"
    chosen = result["auto"]["chosen"]
    rows = sorted((each for each in result if each != "auto"), key=lambda each: -float(np.mean(result[each][lead])))
    lines = ["| detector | " + " | ".join(HEADS[key] for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for each in rows:
        said = each.replace("|", "\\|")
        said = f"**{said}** (`auto`)" if each == chosen else said
        lines.append(f"| {said} | " + " | ".join(_cell(result[each], key) for key in keys) + " |")
    return "\n".join([*lines, *(["", PUBLISHED[name]] if name in PUBLISHED else [])])


def _cell(found: dict[str, Any], key: str) -> str:
    if key not in found:
        return ""
    mean, spread, digits = float(np.mean(found[key])), float(np.std(found[key])), _DIGITS.get(key, 3)
    if "share" in key:
        return f"{mean:.1%}"
    several = len(found[key]) > 1 and spread >= _SAID and key not in ("us", "kb")
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if several else "")


def write_page(page: Path, sections: dict[str, str]) -> None:
    """Put the sections where their markers are.

    Raises:
        ValueError: the page has no such marker.
    """
    text = page.read_text(encoding="utf-8")
    for name, content in sections.items():
        pattern = rf"<!-- {name} -->\n.*?<!-- /{name} -->"
        if not re.search(pattern, text, flags=re.DOTALL):
            raise ValueError(f"{page} has no place for {name}: <!-- {name} --> and <!-- /{name} -->")
        made = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
        text = re.sub(pattern, lambda _, made=made: made, text, flags=re.DOTALL)  # type: ignore[misc]  # bound on purpose
    page.write_text(text, encoding="utf-8")

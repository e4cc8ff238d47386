"""Which rules of delivery are needed: the real code with one rule taken out, against the model that judges it.

For each rule: how many seeds were tried, how many of them failed without it, after how many steps (the median of the
failing ones; one more than the steps of a run means when everything had come to rest), and which invariant saw it. The
code as it is runs the same seeds and has to pass all of them. Writes docs/delivery-rules.md.

    benchmarks/delivery_rules.py --seeds 100
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from _common import finish, parser, say

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import delivery_judge  # noqa: E402 - the model lives with the tests
from delivery_mutants import MUTANTS, Mutant  # noqa: E402 - as above
from delivery_run import steps_of, verdict  # noqa: E402 - as above

PAGE = ROOT / "docs" / "delivery-rules.md"
STEPS = 300


class Row(NamedTuple):
    """One rule's line of the table."""

    mutant: Mutant
    seeds: int
    failed: int
    steps: float
    caught_by: Counter[str]
    sound_failed: int


def measure(mutant: Mutant, seeds: int) -> Row:
    """Run the seeds with and without the rule."""
    violations = []
    sound_failed = 0
    for seed in range(seeds):
        steps = steps_of(seed, STEPS, mutant.focus)
        violations.append(verdict(seed, steps, mutant.parts))
        sound_failed += verdict(seed, steps) is not None
    found = [violation for violation in violations if violation is not None]
    median = statistics.median([violation.taken for violation in found]) if found else 0.0
    return Row(mutant, seeds, len(found), median, Counter(violation.rule for violation in found), sound_failed)


def invariants() -> list[tuple[str, str]]:
    """Names and words of the invariants, as the judge states them."""
    lines = [line.split(maxsplit=1) for line in (delivery_judge.__doc__ or "").splitlines() if line.startswith("    I")]
    return [(name, text) for name, text in lines]


def page(rows: list[Row]) -> str:
    """The document."""
    lines = [
        "# The rules of delivery, each taken out once",
        "",
        "Written by `benchmarks/delivery_rules.py`; do not edit. A random world (devices, cards, a broker, two",
        f"consumers, a journal; {STEPS} steps a seed, then everything has to drain) runs the real `Sender` and",
        "`Receiver` with one rule taken out, under the faults that rule is about. A rule is needed if seeds fail",
        f"without it. The code as it is fails {sum(row.sound_failed for row in rows)} of the same seeds.",
        "",
        f"Steps: the median over the failing seeds; {STEPS + 1} means: seen once the faults had stopped.",
        "",
        "| rule | without it the code | faults | seeds | failed | steps | seen by |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        caught = ", ".join(f"{name} ({count})" for name, count in row.caught_by.most_common())
        faults = ", ".join(name.replace("_", " ") for name in row.mutant.focus) or "none"
        cells = [row.mutant.rule, row.mutant.without, faults, row.seeds, row.failed, f"{row.steps:g}", caught]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "The invariants:", "", *(f"- {name}: {text}" for name, text in invariants()), ""]
    return "\n".join(lines)


def main() -> int:
    """Measure, write the page, end with 1 if a rule was not missed or the sound code failed."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=100, help="seeds for each rule (default 100)")
    arguments.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    chosen = arguments.parse_args()
    began = time.monotonic()
    rows = []
    for mutant in MUTANTS:
        rows.append(measure(mutant, chosen.seeds))
        say(f"{mutant.rule}: {rows[-1].failed} of {chosen.seeds} seeds fail without it")
    chosen.out.write_text(page(rows))
    result: dict[str, Any] = {f"{row.mutant.rule} (seeds failed)": row.failed for row in rows}
    result |= {"seeds": chosen.seeds, "sound_code_failures": sum(row.sound_failed for row in rows)}
    result["duration_s"] = round(time.monotonic() - began, 1)
    misses = [f"{row.mutant.rule}: no seed misses it" for row in rows if not row.failed]
    misses += [f"{row.mutant.rule}: the sound code failed {row.sound_failed} seeds" for row in rows if row.sound_failed]
    return finish(result, misses, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())

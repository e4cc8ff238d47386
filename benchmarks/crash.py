"""Runs the crash campaign and writes docs/reliability.md out of what the runs themselves wrote down.

python benchmarks/crash.py                    a tenth of the campaign, as CI runs it
python benchmarks/crash.py --campaign full    all of it (about an hour)
python benchmarks/crash.py --rows R18 R19 --campaign 10   these alone, ten times over; the page keeps its other sections
python benchmarks/crash.py --results FILE     no run: the table of runs that wrote there (TRUELINE_CRASH_RESULTS)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_ORDER = ("R1", "R2", "R3", "R6", "R7", "R8", "R13", "R14", "R15", "R18", "R19", "Forks")
_FAULTS = {
    "R1": "kill -9 of the agent at random moments",
    "R2": "kill -9 of the cloud at named points and at random",
    "R3": "kill -9 of the broker, its state wiped",
    "R6": "disk full, under the spool and under the journal",
    "R7": "fsync says EIO",
    "R8": "bit rot and truncation, spool and journal",
    "R13": "CoAP: 20 % loss each way, doubles, reordering",
    "R14": "malformed payloads, half of them signed",
    "R15": "hostile broker, forged ACKs, garbage at our listeners",
    "R18": "poison models: unsigned, and signed by mistake",
    "R19": "the power goes while a model is changed",
    "Forks": "cards restored or cloned, journal restored",
}
_HEAD = """# Reliability: what was broken on purpose, and what came of it

Written by `benchmarks/crash.py` out of the runs' own words; do not edit it by hand. Each row is one test of
`tests/crash`, with the number of faults it ran, its seed, what it found, and beside it the *negative control*: the same
fault with the protection taken off, which has to fail. A test that cannot fail proves nothing.

`make crash` runs all of it, CI a tenth; N is what was really run for this page. A failure replays with `TRUELINE_SEED`
set to the seed in its row.
"""
_TAIL = """
## What this cannot show

Real power cuts and real SD cards (a killed process leaves its page cache behind), ARM timing, a wide-area network, a
broker cluster. NATS and RabbitMQ are no MQTT brokers by default and were not tried. The agent counts as dropped what it
dropped from its spool; the ledger counts only what had not been stored before, so the agent's number may be larger.
"""


def main() -> int:
    """Run, then write. Returns the exit code of the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", default="0.1", help="full, or a share of it (0.1)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="run these rows alone, such as R18 R19")
    parser.add_argument("--results", type=Path, help="take these results instead of running")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs" / "reliability.md")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    options, more = parser.parse_known_args()  # what is left is pytest's
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        path = options.results or Path(folder) / "results.jsonl"
        if options.results is None:
            environment = os.environ | {"TRUELINE_CRASH_RESULTS": str(path), "TRUELINE_CAMPAIGN": options.campaign}
            files = [str(file) for row in options.rows for file in _ROOT.glob(f"tests/crash/test_{row.lower()}_*.py")]
            command = [sys.executable, "-m", "pytest", "-m", "crash and not soak", "--timeout=7200", *files, *more]
            code = subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode
        results = [json.loads(line) for line in path.read_text().splitlines()]
    newest = {(entry["row"], entry["test"]): entry for entry in results}
    kept = _sections(options.out.read_text()) if options.rows else {}
    options.out.write_text(_page(list(newest.values()), kept))
    print(json.dumps({"tests": list(newest.values())}) if options.json else f"{len(newest)} tests in {options.out}")
    return code


def _page(results: list[dict[str, Any]], kept: dict[str, list[str]]) -> str:
    """The page of these results, and of other rows what it said before."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in results:
        rows[entry["row"]].append(entry)
    tables = kept | {row: _table(entries) for row, entries in rows.items()}
    lines = [_HEAD, f"Machine: {_machine()}.", ""]
    for row in [*_ORDER, *sorted(tables.keys() - set(_ORDER))]:
        if row in tables:
            lines += [f"## {row}: {_FAULTS.get(row, row)}", "", *tables[row], ""]
    return "\n".join(lines).rstrip() + "\n" + _TAIL


def _sections(page: str) -> dict[str, list[str]]:
    """The tables of a page, by row."""
    tables: dict[str, list[str]] = defaultdict(list)
    row = ""
    for line in page.splitlines():
        if line.startswith("## "):
            row = line.removeprefix("## ").partition(":")[0]
        elif line.startswith("|"):
            tables[row].append(line)
    return tables


def _table(entries: list[dict[str, Any]]) -> list[str]:
    lines = ["| test | N | seed | outcome | what was found |", "|---|---|---|---|---|"]
    for entry in entries:
        name = entry["test"].removeprefix("test_").replace("_", " ")
        if "control" in entry:
            name, found = f"*control:* {name}", entry["control"]
        else:
            found = entry.get("result", "")
        more = {"row", "test", "seed", "outcome", "n", "result", "control", "broker", "kinds"}
        found += "".join(f"; {key.replace('_', ' ')} {value}" for key, value in entry.items() if key not in more)
        cells = (name, entry.get("n", ""), entry["seed"], entry["outcome"], str(found).replace("|", "\\|"))
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return lines


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())

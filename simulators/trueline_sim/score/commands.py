"""`trueline-sim score`: arguments, a table, and where the rest goes.

Refuses to know how anything is scored: `scoring` does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueline_sim.score.tables import as_table
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_score", "with_ledger"]

_LIVE_EVERY_S = 0.3


def add_score(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.description = (
        "Scores what came out of a pipeline against what was true: RMSE and gain, coverage of the intervals the "
        "uncertainties promise, what was excluded wrongly, how soon faults were found, what was lost. For all "
        "readings, for those flagged good, and for those no label touches (clean). Exit code 0: scored."
    )
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="a recording, or its truth.parquet")
    parser.add_argument(
        "--readings",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="of `record`, `trueline-edge replay --out` or `trueline-cloud export`; Parquet or CSV, several are one",
    )
    parser.add_argument("--device", metavar="D", help="whose readings they are, where the files do not say")
    parser.add_argument(
        "--ledger", type=Path, metavar="FILE", help="of `trueline-cloud ledger --json`: bytes a reading"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--html", type=Path, metavar="OUT", help="a report in one file, with plots")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> int:
    from trueline_sim.score.join import Recording  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.score.readings import open_readings  # noqa: PLC0415 - as above
    from trueline_sim.score.scoring import score  # noqa: PLC0415 - as above

    began = time.monotonic()
    recording = Recording(arguments.truth)
    readings = open_readings(arguments.readings, recording.devices, arguments.device)
    progress = _Progress()
    scored = score(recording, readings, progress=progress)
    result = with_ledger(scored.result(), arguments.ledger)
    result["seconds"] = round(time.monotonic() - began, 3)
    if arguments.html:
        from trueline_sim.score.report import write_report  # noqa: PLC0415 - matplotlib is slow to import

        progress("report")
        write_report(scored, result, arguments.html)
    progress.end()
    sys.stdout.write(json.dumps(result) + "\n" if arguments.json else as_table(result) + "\n")
    return 0


def with_ledger(result: dict[str, Any], ledger: Path | None) -> dict[str, Any]:
    """The result, its bytes those of a ledger if there is one.

    Raises:
        ConfigError: it is no ledger.
    """
    if ledger is None:
        return result
    try:
        document = json.loads(ledger.read_text())
        size, values = int(document["bytes"]), int(document["values"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{ledger}: not the output of `trueline-cloud ledger --json`: {error}") from error
    each = size / values if values else None
    return result | {"bytes": {"of": "frames", "bytes": size, "values": values, "a_reading": each}}


class _Progress:
    """A line on stderr that is written over, where somebody looks."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._next_s = 0.0

    def __call__(self, text: str) -> None:
        if self._live and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _LIVE_EVERY_S
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def end(self) -> None:
        """The line is done with."""
        if self._live:
            sys.stderr.write("\r\033[K")

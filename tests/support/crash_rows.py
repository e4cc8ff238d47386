"""Readings that can be told apart: a CSV file whose rows are numbered, and the comparison with what was stored."""

from __future__ import annotations

import csv
import random
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = ("id", "x", "y")
_START_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Comparison:
    """A file beside what was stored of it. Rows are named by their number."""

    rows: int
    stored: int
    missing: list[int]
    twice: list[int]
    wrong: list[int]

    @property
    def equal(self) -> bool:
        """Every row once, bit for bit, and nothing else."""
        return not (self.missing or self.twice or self.wrong) and self.stored == self.rows

    def __str__(self) -> str:
        text = f"{self.rows} rows, {self.stored} stored"
        for name in ("missing", "twice", "wrong"):
            rows = getattr(self, name)
            text += f", {len(rows)} {name}" + (f" (first {rows[:5]})" if rows else "")
        return text


def write_rows(path: Path, rows: int, seed: int, *, step_ns: int = 1_000_000_000) -> Path:
    """A CSV file: time in ns, the row's number, and two doubles with all their bits."""
    rng = random.Random(f"rows {seed}")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *CHANNELS])
        for number in range(rows):
            writer.writerow([_START_NS + number * step_ns, number, repr(rng.gauss(0, 1)), repr(rng.gauss(20, 5))])
    return path


def stream(path: Path, *, speed: str | float = "flat_out", name: str = "rows", lane: str = "data") -> dict[str, Any]:
    """The `[[stream]]` table that replays such a file."""
    return {
        "name": name,
        "lane": lane,
        "source": {"type": "replay", "path": str(path), "time_column": "time", "time_format": "ns", "speed": speed},
        "channel": [{"name": channel} for channel in CHANNELS],
    }


def compare(source: Path, exported: Path) -> Comparison:
    """The export (CSV, long or wide) beside its source."""
    wanted = {int(row["id"]): (int(row["time"]), _bits(row["x"]), _bits(row["y"])) for row in _read(source)}
    found = list(_exported(exported))
    counts = Counter(number for number, _ in found)
    return Comparison(
        rows=len(wanted),
        stored=len(found),
        missing=sorted(wanted.keys() - counts.keys()),
        twice=sorted(number for number, times in counts.items() if times > 1),
        wrong=sorted({number for number, row in found if wanted.get(number) != row}),
    )


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _exported(path: Path) -> list[tuple[int, tuple[int, bytes, bytes]]]:
    rows = _read(path)
    if rows and "channel" in rows[0]:
        found = []
        by_channel: dict[str, list[tuple[int, str]]] = {channel: [] for channel in CHANNELS}
        for row in rows:
            by_channel[row["channel"]].append((int(row["time_ns"]), row["value"]))
        columns = [by_channel[channel] for channel in CHANNELS]
        for number, x, y in zip(*columns, strict=True):
            found.append((int(float(number[1])), (number[0], _bits(x[1]), _bits(y[1]))))
        return found
    return [(int(float(row["id"])), (int(row["time_ns"]), _bits(row["x"]), _bits(row["y"]))) for row in rows]


def _bits(text: str) -> bytes:
    return struct.pack("<d", float(text))

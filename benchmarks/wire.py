"""How many bytes a value costs on the wire, and how long a frame takes, beside other formats on the same rows.

Ours are whole messages: header, times, values, u, flags, reasons and the signature. The others hold times, values and
names only. Every frame of ours is opened, decoded and compared with what went in.

Bounds, on the recorded valve runs (SKAB) in frames of 600 rows, tails included: at most 1.60 bytes a value, on the
anomaly-free run 1.52; at most 0.45 of JSON+gzip and 0.25 of Sparkplug B+gzip in the same run. With --csv, on any table,
there is no bound.
"""

from __future__ import annotations

import csv
import os
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import finish, parser, say
from _formats import DEVICE, FORMATS, SETTINGS, STREAM, Batch

from trueline_wire.columns import decode_columns, encode_columns
from trueline_wire.envelope import Lane, open_envelope
from trueline_wire.frame import Data, read_record, seal_record
from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.readings import Channel, Flag, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND = 1.60
BOUND_ANOMALY_FREE = 1.52
BOUND_OF_JSON = 0.45
BOUND_OF_SPARKPLUG = 0.25
SKAB_CHANNELS = 8
SHARE_OF_RANGE = 0.001
"""The constant u of a channel, as a share of its range: some number that a person would declare."""

KEY = SigningKey(bytes(range(32)))


# ---------------------------------------------------------------- input


def moment(text: str) -> int:
    """Nanoseconds since 1970 of an ISO time or a number of seconds.

    Raises:
        ValueError: it is neither.
    """
    try:
        return round(float(text) * 1e9)
    except ValueError:
        when = datetime.fromisoformat(text)
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000


def number(text: str) -> float:
    """A float, also with a decimal comma; NaN for an empty cell, and where there is a word."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return np.nan


def read_table(path: Path, columns: int | None = None) -> Batch:
    """A CSV file: the first column is the time (else rows are a second apart), then numbers (`columns` of them)."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        dialect = csv.Sniffer().sniff(file.read(8192), delimiters=",;\t")
        file.seek(0)
        header, *rows = [row for row in csv.reader(file, dialect) if row]
    try:
        times, start = [moment(row[0]) for row in rows], 1
    except ValueError:
        times, start = [second * 10**9 for second in range(len(rows))], 0
    end = len(header) if columns is None else start + columns
    value = np.array([[number(text) for text in row[start:end]] for row in rows])
    heard = ~np.isnan(value).all(axis=0)
    names = [name for name, known in zip(header[start:end], heard, strict=True) if known]
    return Batch(names, np.array(times), value[:, heard])


def frames(tables: list[Batch], rows: int) -> Iterator[Batch]:
    """Every table in frames of so many rows, its last one shorter."""
    for table in tables:
        for start in range(0, len(table.time_ns), rows):
            part = slice(start, start + rows)
            yield Batch(table.names, table.time_ns[part], table.value[part])


# ---------------------------------------------------------------- ours


class Ours:
    """A device and a cloud on either side of a wire without length; counts bytes and takes the time.

    Args:
        repeats: how often each frame is coded; the quickest counts, since others work on this machine too.
    """

    def __init__(self, names: list[str], u: list[float], repeats: int) -> None:
        channels = tuple(Channel(name=name) for name in names)
        self._schema = Schema(device=DEVICE, stream=STREAM, channels=channels)
        self._u = np.float32(u)
        self._ring = KeyRing()
        self._ring.trust(DEVICE, KEY.public)
        self._repeats = repeats
        self._number = 1
        self.frames = self.values = self.size = 0
        self.cpu_s = dict.fromkeys(("encode", "seal", "open", "decode"), 0.0)

    def _timed(self, step: str, work: Callable[[], Any]) -> Any:
        quickest = float("inf")
        for _ in range(self._repeats):
            start = time.process_time()
            result = work()
            quickest = min(quickest, time.process_time() - start)
        self.cpu_s[step] += quickest
        return result

    def send(self, batch: Batch) -> None:
        """One frame there, and compared.

        Raises:
            ValueError: something else came out than went in.
        """
        missing = np.isnan(batch.value)
        readings = Readings(
            self._schema,
            batch.time_ns,
            batch.value,
            np.broadcast_to(self._u, batch.value.shape),
            np.where(missing, np.uint8(Flag.MISSING), np.uint8(Flag.PASS)),
            np.zeros(batch.value.shape, np.uint32),
        )
        rows, self._number = len(readings), self._number + 1
        body = self._timed("encode", lambda: encode_columns(readings))
        span = int(batch.time_ns.min()), int(batch.time_ns.max())
        record = Data(
            DEVICE, Lane.DATA, b"epoch-id", self._number, 600 * self._number, rows, self._schema.hash, rows, *span, body
        )
        message = self._timed("seal", lambda: seal_record(record, KEY))
        received = self._timed("open", lambda: read_record(open_envelope(message, DEVICE, self._ring)))
        got = self._timed("decode", lambda: decode_columns(received.body, self._schema, received.stored))
        if not (np.array_equal(got.value, batch.value, equal_nan=True) and np.array_equal(got.time_ns, batch.time_ns)):
            raise ValueError("a frame came back changed")
        self.frames += 1
        self.values += batch.value.size
        self.size += len(message)


def ours(tables: list[Batch], rows: int, repeats: int = 1) -> Ours:
    """All tables through frames of so many rows."""
    spread = np.nanmax([np.nanmax(t.value, 0) - np.nanmin(t.value, 0) for t in tables], axis=0)
    measured = Ours(tables[0].names, [SHARE_OF_RANGE * max(wide, 1e-9) for wide in spread.tolist()], repeats)
    for batch in frames(tables, rows):
        measured.send(batch)
    return measured


def compare(tables: list[Batch], rows: int, prefix: str) -> dict[str, Any]:
    """Bytes a value, ours and theirs."""
    mine = ours(tables, rows)
    result = {f"{prefix}trueline_bytes_per_value": round(mine.size / mine.values, 4)}
    for name, write in FORMATS.items():
        size = sum(len(write(batch)) for batch in frames(tables, rows))
        result[f"{prefix}{name}_bytes_per_value"] = round(size / mine.values, 4)
    return {f"{prefix}frames": mine.frames, f"{prefix}values": mine.values, **result}


def speeds(tables: list[Batch], rows: int) -> dict[str, float]:
    """CPU milliseconds a frame of ours, each step; the quickest of five."""
    mine = ours([Batch(t.names, t.time_ns[: 10 * rows], t.value[: 10 * rows]) for t in tables[:3]], rows, repeats=5)
    cpu_ms = {step: 1e3 * spent / mine.frames for step, spent in mine.cpu_s.items()}
    return {f"rows_{rows}_{step}_cpu_ms_per_frame": round(spent, 3) for step, spent in cpu_ms.items()}


# ---------------------------------------------------------------- all of it


def skab(folder: Path, rows: int) -> tuple[dict[str, Any], list[str]]:
    """The recorded valve runs and their bounds."""
    paths = sorted((folder / "skab").rglob("*.csv"))
    if not paths:
        return {}, [f"no recorded runs in {folder / 'skab'}"]
    tables = [read_table(path, SKAB_CHANNELS) for path in paths]
    quiet = [table for path, table in zip(paths, tables, strict=True) if "anomaly-free" in path.name]
    say(f"{len(paths)} runs, {sum(table.value.size for table in tables)} values")
    result = compare(tables, rows, "skab_")
    alone = ours(quiet, rows)
    per_value = result["skab_trueline_bytes_per_value"]
    result |= {
        "skab_anomaly_free_trueline_bytes_per_value": round(alone.size / alone.values, 4),
        "skab_of_json_gzip": round(per_value / result["skab_json_gzip_bytes_per_value"], 4),
        "skab_of_sparkplug_b_gzip": round(per_value / result["skab_sparkplug_b_gzip_bytes_per_value"], 4),
    }
    for length in (600, 60):
        result |= speeds(tables, length)
    bounds = {
        "skab_trueline_bytes_per_value": BOUND,
        "skab_anomaly_free_trueline_bytes_per_value": BOUND_ANOMALY_FREE,
        "skab_of_json_gzip": BOUND_OF_JSON,
        "skab_of_sparkplug_b_gzip": BOUND_OF_SPARKPLUG,
    }
    misses = [f"{key} is {result[key]}, at most {bound} asked" for key, bound in bounds.items() if result[key] > bound]
    return result, misses if rows == 600 else []


def main() -> int:
    """Run it all."""
    arguments = parser(__doc__)
    home = Path(os.environ.get("TRUELINE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    arguments.add_argument("--data", type=Path, default=home, metavar="FOLDER", help="recorded data, with skab/ in it")
    arguments.add_argument("--csv", type=Path, action="append", metavar="FILE", help="a table of your own, instead")
    arguments.add_argument("--rows", type=int, default=600, help="rows a frame (600; the bounds are for 600)")
    options = arguments.parse_args()
    result: dict[str, Any] = {"rows_per_frame": options.rows}
    misses: list[str] = []
    if options.csv:
        for path in options.csv:
            table = read_table(path)
            result |= compare([table], options.rows, f"{path.stem}_") | speeds([table], options.rows)
    else:
        measured, misses = skab(options.data, options.rows)
        result |= measured
    result |= {f"settings_{name}": text for name, text in SETTINGS.items()}
    result["settings_trueline"] = f"u, flags, reasons, Ed25519 and header included; pcodec {version('pcodec')}, level 8"
    return finish(result, misses, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())

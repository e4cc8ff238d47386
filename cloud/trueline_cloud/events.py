"""`trueline-cloud events`: what detectors on devices raised, as people and scripts read it, and as a file.

Promises: the newest first; what is written is what the store holds, and nothing is judged again.
"""

from __future__ import annotations

import csv
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from trueline_cloud.event_log import Happening, happening, newest_events
from trueline_cloud.storage.reader import JournalReader
from trueline_cloud.storage.store import NeverHeardOfError
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["as_json", "as_table", "read_events", "write_csv"]


def read_events(
    state: Path, device: str | None, start_ns: int, end_ns: int, limit: int
) -> tuple[list[Happening], bool]:
    """Events of one device, or of all, and whether older ones were left out: see `event_log.newest_events`.

    Raises:
        ConfigError: there is no store, or no such device.
    """
    with closing(JournalReader(state)) as reader:
        try:
            found, more = newest_events(reader, device, start_ns, end_ns, limit)
        except NeverHeardOfError:
            raise ConfigError(f"device {device!r} has never been heard of") from None
    return [happening(one) for one in found], more


def as_json(events: Sequence[Happening], *, more: bool) -> str:
    """One object: the events, as /api/v1/events answers them, and whether older ones were left out."""
    return msgspec.json.encode({"more": more, "events": events}).decode()


def as_table(events: Sequence[Happening], *, more: bool) -> str:
    """For people: one line an event."""
    if not events:
        return "no events"
    rows = [("began", "lasted", "device", "stream", "what", "channel", "kind", "sure", "p"), *map(_cells, events)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines[1:1] = ["─" * max(map(len, lines))]
    return "\n".join(lines + (["… and older ones: --limit, --from"] if more else []))


def write_csv(events: Sequence[Happening], out: Path) -> None:
    """One row an event, the columns those of /api/v1/events but for the shares; whole, or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    names = [field.name for field in msgspec.structs.fields(Happening) if field.name != "shares"]
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(names)
            for one in events:
                rows.writerow([_plain(getattr(one, name)) for name in names])
        part.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror or error}") from error


def _plain(value: Any) -> Any:
    return "" if value is None else value


def _cells(one: Happening) -> tuple[str, ...]:
    began = datetime.fromtimestamp(one.begun_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lasted = f"{(one.last_ns - one.begun_us * 1000) / 1e9:.4g} s" + ("" if one.phase == "ended" else " …")
    sure = "" if one.confidence is None else f"{one.confidence:.0%}"
    p = "" if one.p is None else f"{one.p:.1e}"
    return began, lasted, one.device, one.stream, one.what or "unknown", one.channel, one.kind, sure, p

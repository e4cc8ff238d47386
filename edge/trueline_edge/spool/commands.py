"""`trueline-edge spool show` and `spool export`: what waits, for people and for rescue."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from trueline_edge.spool.view import look_at, waiting
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["export", "show"]

_LENGTH: Final = struct.Struct(">I")


def show(state: Path, *, as_json: bool) -> int:
    """Print what waits in the spool of a state folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    view = look_at(state)
    if as_json:
        sys.stdout.write(json.dumps(asdict(view)) + "\n")
        return 0
    lines = [f"{'lane':<6} {'epochs':>7} {'frames':>9} {'rows':>12} {'bytes':>14}  oldest"]
    for lane in view.lanes:
        oldest = "-" if lane.oldest is None else f"epoch {lane.oldest[0]}, number {lane.oldest[1]}"
        lines.append(f"{lane.lane:<6} {lane.epochs:>7,} {lane.frames:>9,} {lane.rows:>12,} {lane.bytes:>14,}  {oldest}")
    lines.append(f"on disk: {view.file_bytes:,} bytes; quarantined: {view.quarantined}; journal: {view.journal or '-'}")
    lines += [f"set aside, damaged: {name}" for name in view.set_aside]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def export(state: Path, out: Path) -> int:
    """Write the messages that wait to a file: each signed message behind its length (4 bytes, big-endian).

    Raises:
        ConfigError: there is no spool, or the file cannot be written.
    """
    count = size = 0
    try:
        with out.open("wb") as file:
            for message in waiting(state):
                file.write(_LENGTH.pack(len(message)) + message)
                count += 1
                size += len(message)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}") from error
    sys.stdout.write(f"{out}: {count:,} messages, {size:,} bytes\n")
    return 0

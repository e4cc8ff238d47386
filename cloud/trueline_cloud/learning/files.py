"""What every `trueline-cloud train` reads and writes: recordings in, versions counted, files that appear whole."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from trueline_cloud.learning.recordings import Recording, read_folder, read_readings
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["next_version", "recordings_of", "say", "write_whole"]


def recordings_of(options: argparse.Namespace, state: Path, parse_time: Callable[[str], int]) -> list[Recording]:
    """What `train` was told to learn from.

    Raises:
        ConfigError: it was told nothing, too much, or what is not there.
    """
    channels = options.channels.split(",") if options.channels else None
    if (options.data is None) == (options.stream is None) or (options.stream is None) != (options.device is None):
        raise ConfigError("say what to learn from: --device D --stream S, or --data PATH")
    if options.data is not None:
        return read_folder(options.data, channels=channels, labels=options.labels, interval_s=options.interval_s)
    from trueline_cloud.storage.reader import JournalReader  # noqa: PLC0415 - a folder needs no store
    from trueline_cloud.storage.store import NeverHeardOfError  # noqa: PLC0415

    start = -(1 << 63) if options.start is None else parse_time(options.start)
    end = (1 << 63) - 1 if options.end is None else parse_time(options.end)
    with contextlib.closing(JournalReader(state, say)) as reader:
        try:
            batches = reader.readings(options.device, options.stream, start, end)
            return read_readings(f"{options.device}/{options.stream}", batches, channels)
        except NeverHeardOfError as error:
            raise ConfigError(f"{error} has never been heard of: see `trueline-cloud ledger`") from None


def next_version(folder: Path, name: str) -> int:
    """One above the highest there is."""
    pattern = re.compile(re.escape(name) + r"-(\d+)\.tlm")
    found = [pattern.fullmatch(file.name) for file in folder.glob("*.tlm")] if folder.is_dir() else []
    return 1 + max((int(match[1]) for match in found if match), default=0)


def write_whole(file: Path, content: bytes) -> None:
    """Under its name when it is whole."""
    temporary = file.with_name(file.name + ".part")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def say(*text: Any) -> None:
    """Progress, beside what is printed as a result."""
    print(*text, file=sys.stderr, flush=True)  # noqa: T201 - progress

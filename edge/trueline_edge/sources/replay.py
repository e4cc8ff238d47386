"""Recorded readings out of CSV files, as if they were measured now (configuration; the reading is in `csv_rows.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from trueline_edge.sources.source import SYSTEM_CLOCK, ChannelConfig, Clock, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.readings import Schema

__all__ = ["ReplayConfig"]


class ReplayConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="replay"
):
    """CSV files, one after the other.

    Attributes:
        path: the file; relative to the configuration's folder.
        paths: or several, in this order.
        time_column: name of the column with the time, or names of several, joined by a blank (date and time of day);
            the first column where left out.
        time_format: "iso", "s", "ms", "us" or "ns" since 1970, or a strptime format such as "%d/%m/%Y %H:%M:%S".
        zone: IANA name of the zone of local times, such as "Europe/Rome". Texts with an offset need none.
        fold: a local time that occurs twice when summer time ends is the "earlier", the "later", or by "order": the
            earlier until the clock in the file steps back, the later from there.
        separator: between cells.
        decimal: "." or ",".
        encoding: of the file.
        missing: texts that mean nothing was measured, as written (["NA", "-999"]); an empty cell always does.
        skip_lines: lines before the header.
        header: false where the first row is data: columns are then called "1", "2", ...
        speed: "realtime", "flat_out", or how many times faster than recorded.
    """

    path: Path | None = None
    paths: tuple[Path, ...] = ()
    time_column: str | tuple[str, ...] = ()
    time_format: str = "iso"
    zone: str = "UTC"
    fold: Literal["earlier", "later", "order"] = "order"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    missing: tuple[str, ...] = ()
    skip_lines: int = 0
    header: bool = True
    speed: Literal["realtime", "flat_out"] | float = "realtime"

    channel_keys: ClassVar = ("column",)

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> Source:
        """The source for a stream. Batches have at most `rows_max` rows."""
        raise NotImplementedError

"""What the agent must find again after a restart: where each source and stage stood, and what was counted so far.

Written in one transaction with the rows it speaks of (`Spool.append`), so after a kill nothing is read twice or skipped
and no count is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trueline_wire.delivery import Outgoing

__all__ = ["Checkpoint", "Mark", "Part"]


class Part(NamedTuple):
    """Frames of one stream that are made durable with others.

    Attributes:
        stream: its name.
        channels: how many it has.
        frames: in order.
    """

    stream: str
    channels: int
    frames: list[Outgoing]


class Mark(msgspec.Struct, array_like=True):
    """Where one stream stands; that of a detector's events, which has no source and no stages, as well.

    Attributes:
        offset: of its source.
        stages: the state of its pipeline.
        sampled: rows its source has given or lost.
        spooled: rows made durable.
    """

    offset: bytes = b""
    stages: bytes = b""
    sampled: int = 0
    spooled: int = 0


class Checkpoint(msgspec.Struct, array_like=True):
    """Where the whole agent stands, over the life of its state folder.

    Attributes:
        marks: by stream.
        lost: rows that never came to the spool, by reason; INSIGNIFICANT is one of them.
        frames: frames appended.
        body_bytes: bytes of their bodies.
        values: values in them.
        dropped: rows dropped from a full spool.
        corrupt: rows found damaged in the spool.
    """

    marks: dict[str, Mark] = {}
    lost: dict[str, int] = {}
    frames: int = 0
    body_bytes: int = 0
    values: int = 0
    dropped: int = 0
    corrupt: int = 0

    def encode(self) -> bytes:
        """As the spool keeps it."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, encoded: bytes | None) -> Checkpoint:
        """Back from the spool; a fresh one where there is none."""
        return cls() if encoded is None else _DECODER.decode(encoded)

    def count(self, parts: Iterable[Part], times: int = 1) -> None:
        """Count frames as made durable; with `times` -1 take that back."""
        for stream, channels, frames in parts:
            rows = times * sum(frame.rows for frame in frames)
            self.marks.setdefault(stream, Mark()).spooled += rows
            self.frames += times * len(frames)
            self.body_bytes += times * sum(len(frame.body) for frame in frames)
            self.values += rows * channels

    @property
    def sampled(self) -> int:
        """Rows of all streams that sources have given or lost."""
        return sum(mark.sampled for mark in list(self.marks.values()))

    @property
    def spooled(self) -> int:
        """Rows of all streams made durable."""
        return sum(mark.spooled for mark in list(self.marks.values()))


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Checkpoint)

"""From an authentic frame to readings: decoded, and checked for plausibility.

Promises: what comes out fits its schema and its header. Refuses to know links and the store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from trueline_cloud.validation.frames import check_frame, in_the_future
from trueline_wire.columns import decode_columns
from trueline_wire.readings import Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_wire.frame import Data

__all__ = ["FrameDecoder"]

_SCHEMAS_MAX: Final = 20_000


class FrameDecoder:
    """Called by the receiver for each frame: (record, encoded schema) -> readings.

    Attributes:
        frames_in_the_future: frames whose times are more than a day ahead of our clock; stored all the same.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.frames_in_the_future = 0
        self._now_ns = now_ns
        self._schemas: dict[bytes, Schema] = {}

    def __call__(self, record: Data, encoded_schema: bytes) -> Readings:
        """Decode and check a frame.

        Raises:
            NeverRetry: it cannot be understood, or is nonsense.
        """
        schema = self._schemas.get(encoded_schema)
        if schema is None:
            if len(self._schemas) >= _SCHEMAS_MAX:
                self._schemas.clear()
            schema = self._schemas[encoded_schema] = Schema.decode(encoded_schema)
        readings = decode_columns(record.body, schema, record.stored)
        check_frame(record, readings)
        if in_the_future(record, self._now_ns()):
            self.frames_in_the_future += 1
        return readings

"""What waits for its acknowledgement: bytes on disk. Has never heard of a reading."""

from trueline_edge.spool.sqlite import Salvage, SqliteSpool

__all__ = ["Salvage", "SqliteSpool"]

"""How large the spool may become: the table `[spool]`."""

from __future__ import annotations

import msgspec

__all__ = ["SpoolConfig"]

_SIZE_MIN_BYTES = 1 << 20


class SpoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What waits for its acknowledgement, on disk.

    Attributes:
        size_max_bytes: bytes of frames kept at most; when full, the oldest are dropped and the ledger says so.
    """

    size_max_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.size_max_bytes < _SIZE_MIN_BYTES:
            raise ValueError(f"size_max_bytes {self.size_max_bytes} must be at least {_SIZE_MIN_BYTES} (1 MiB)")

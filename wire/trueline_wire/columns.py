"""Readings <-> bytes: the compressed columns in the body of a DATA record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueline_wire.readings import Readings, Schema

__all__ = ["decode_columns", "encode_columns"]


def encode_columns(readings: Readings) -> bytes:
    """The columns of a batch, compressed. Values travel bit for bit (NaN as a canonical NaN).

    Raises:
        ValueError: no rows, or more than a frame may hold.
    """
    raise NotImplementedError


def decode_columns(body: bytes, schema: Schema, rows: int) -> Readings:
    """The batch a body holds. Allocates for `rows` rows and no more, whatever the bytes say.

    Raises:
        NeverRetry: the body is not `rows` rows of this schema.
    """
    raise NotImplementedError

"""What a stage with a model remembers, as bytes: its state, and which model it is the memory of.

Promises: a state comes back bit for bit, and only to the very model it came from; bytes that are none are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["Remembered", "remember", "remembered"]


class Remembered(NamedTuple):
    """What a model left.

    Attributes:
        state: its own.
        more: the stage's.
    """

    state: State
    more: bytes


class _Array(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Memory(msgspec.Struct, frozen=True, array_like=True):
    digest: bytes
    state: dict[str, _Array] | None
    more: bytes = b""


def remember(digest: bytes, state: State | None, more: bytes = b"") -> bytes:
    """The state of a model, whose digest this is (None: it has none yet), and what else the stage wants to keep."""
    arrays = None if state is None else {name: _packed(np.asarray(array)) for name, array in state.items()}
    return msgspec.msgpack.encode(_Memory(digest, arrays, more))


def remembered(memory: bytes, digest: bytes) -> Remembered | None:
    """What was kept, if it is of this model; None where it is not, or where there was no state.

    Raises:
        ValueError: the bytes are no memory.
    """
    found = msgspec.msgpack.decode(memory, type=_Memory)
    if found.digest != digest or not found.state:
        return None
    return Remembered({name: _unpacked(array) for name, array in found.state.items()}, found.more)


def _packed(array: NDArray[Any]) -> _Array:
    return _Array(array.dtype.str, array.shape, array.tobytes())


def _unpacked(array: _Array) -> NDArray[Any]:
    try:
        dtype = np.dtype(array.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise ValueError(f"a state of {array.dtype!r:.40}")
    return np.frombuffer(array.data, dtype).reshape(array.shape).copy()

"""The part of CBOR (RFC 8949) that headers and schemas are written in, read strictly.

Promises: `read_cbor` takes integers of 64 bits, byte and text strings, arrays, maps, booleans and floats, all of
definite length and at most `DEPTH_MAX` deep, and raises NeverRetry for everything else: tags (big numbers, regular
expressions, shared references, dates …), null and other simple values, a key twice in a map, bytes left over. Its work
grows with the bytes there are, not with the lengths they declare. Refuses to know what the items mean.

A general decoder is no choice here: which tags it follows, how deep, and what they cost changes with its version.
Writing is left to `cbor2`, whose encoding of these types is the shortest one.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import cbor2

from trueline_wire.errors import NeverRetry

__all__ = ["DEPTH_MAX", "read_cbor", "write_cbor"]

DEPTH_MAX: Final = 4
"""Arrays and maps within one another, at most."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_ARGUMENT_SIZE: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_FALSE, _TRUE = 20, 21
_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}

# First bytes that say all of what stands in a header nearly always: which follow is only a matter of adding up.
_SHORT: Final = 24  # an unsigned integer below this is its own first byte
_WIDE_END: Final = 28  # from here to the negative integers nothing is allowed
_SHORT_STRINGS: Final = range(0x40, 0x58)
_PLAIN: Final = {int, bytes, str}


def write_cbor(item: Any) -> bytes:
    """An item in deterministic CBOR (RFC 8949, 4.2.1): shortest forms, map keys in order."""
    if type(item) is dict and {type(value) for value in item.values()} <= _PLAIN:
        keys = list(item)
        if {type(key) for key in keys} == {int} and keys[0] >= 0 and keys == sorted(keys):
            return cbor2.dumps(item)  # as it is: nothing has to be put in order, and half the time is saved
    return cbor2.dumps(item, canonical=True)


def read_cbor(encoded: bytes) -> Any:
    """The one item that the bytes hold.

    Raises:
        NeverRetry: they hold something else.
    """
    try:
        item, end = _item(encoded, 0, DEPTH_MAX)
    except IndexError:
        raise NeverRetry("CBOR ends too early") from None
    if end != len(encoded):
        raise NeverRetry(f"{len(encoded) - end} bytes follow the CBOR item")
    return item


def _item(encoded: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The item that begins at `at`, and where it ends."""
    major, argument = encoded[at] >> 5, encoded[at] & 0x1F
    short = argument
    at += 1
    if argument > 23:  # noqa: PLR2004 - larger arguments follow in bytes of their own
        size = _ARGUMENT_SIZE.get(argument)
        if size is None:
            raise NeverRetry("CBOR of indefinite length")
        if at + size > len(encoded):
            raise IndexError
        argument = int.from_bytes(encoded[at : at + size])
        at += size
    if major == _UNSIGNED:
        return argument, at
    if major == _NEGATIVE:
        return -1 - argument, at
    if major in {_BYTES, _TEXT}:
        return _string(encoded, at, argument, is_text=major == _TEXT)
    if major == _OTHER:
        return _simple(encoded, at, short), at
    if major == _TAG:
        raise NeverRetry(f"CBOR with tag {argument}")
    if depth == 0:
        raise NeverRetry(f"CBOR more than {DEPTH_MAX} deep")
    return _array(encoded, at, argument, depth) if major == _ARRAY else _map(encoded, at, argument, depth)


def _string(encoded: bytes, at: int, size: int, *, is_text: bool) -> tuple[bytes | str, int]:
    end = at + size
    if end > len(encoded):
        raise IndexError
    if not is_text:
        return encoded[at:end], end
    try:
        return encoded[at:end].decode(), end
    except UnicodeDecodeError as error:
        raise NeverRetry(f"CBOR: {error}"[:200]) from error


def _simple(encoded: bytes, at: int, short: int) -> bool | float:
    if short in {_FALSE, _TRUE}:
        return short == _TRUE
    if short not in _FLOATS:
        raise NeverRetry("CBOR with a simple value other than true and false")
    number: float = struct.unpack_from(_FLOATS[short], encoded, at - _ARGUMENT_SIZE[short])[0]
    return number


def _array(encoded: bytes, at: int, size: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _item(encoded, at, depth - 1)
        items.append(item)
    return items, at


def _map(encoded: bytes, at: int, size: int, depth: int) -> tuple[dict[int | str, Any], int]:
    """A map. What a header holds is read here, one case after the other; `_item` reads the rest, and is the rule."""
    items: dict[int | str, Any] = {}
    end = len(encoded)
    for _ in range(size):
        key: Any = encoded[at]
        if key < _SHORT:
            at += 1
        else:
            key, at = _item(encoded, at, depth - 1)
            if type(key) not in {int, str}:
                raise NeverRetry("CBOR map with a key that is neither integer nor text")
        if key in items:
            raise NeverRetry("CBOR map with a key twice")
        first = encoded[at]
        if first < _SHORT:
            items[key] = first
            at += 1
        elif first < _WIDE_END:
            stop = at + 1 + (1 << first - _SHORT)
            if stop > end:
                raise IndexError
            items[key] = int.from_bytes(encoded[at + 1 : stop])
            at = stop
        elif first in _SHORT_STRINGS:
            stop = at + 1 + first - 0x40
            if stop > end:
                raise IndexError
            items[key] = encoded[at + 1 : stop]
            at = stop
        else:
            items[key], at = _item(encoded, at, depth - 1)
    return items, at

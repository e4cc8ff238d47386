"""Sequences of numbers <-> few bytes: variable-length integers, and columns compressed by pcodec.

Promises: what is written reads back equal; reading allocates for the `count` numbers the caller asks for and no more,
and bytes that are no such sequence raise NeverRetry, whatever they say (28 hostile bytes make a bare pcodec ask for
4 GiB). Refuses to know what the numbers mean.

A sequence of `count` signed 64-bit integers is a form byte, then the base (the smallest of them, a signed varint), then

    form 0          nothing: all are equal to the base
    form 1          a dictionary: varint m, m - 1 varints (each distinct integer less the one before it, from the base
                    on), then the index of each integer as a pcodec column of uint8
    form 2, 3, 4, 5 each integer less the base (modulo 2^64), as a pcodec column of uint8, uint16, uint32, uint64
    form 6, 7, 8, 9 the same as plain little-endian integers of 1, 2, 4, 8 bytes: for a handful of them, and for peers
                    that have no pcodec and need not compress

A pcodec column is one chunk metadata and one page of the wrapped pcodec format, version 4.1, without its header.
Of that format only the modes Classic, IntMult, FloatMult and FloatQuant and the delta encodings None, Consecutive and
Conv1 are taken: they allocate little whatever they say. (Lookback asks for a window of up to 2^24 numbers, Dict for as
many as it likes.)
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, wrapped

from trueline_wire.errors import NeverRetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BodyReader", "put_floats", "put_integers", "put_signed", "put_varint"]

PCODEC_HEADER: Final = b"\x04\x01"
"""The wrapped pcodec format we write and read. It does not travel: the body's layout number stands for it."""

_CONSTANT, _DICTIONARY, _DIRECT, _PLAIN = 0, 1, 2, 6
_UNSIGNED: Final = (
    (np.dtype(np.uint8), "u8"),
    (np.dtype(np.uint16), "u16"),
    (np.dtype(np.uint32), "u32"),
    (np.dtype(np.uint64), "u64"),
)
_DISTINCT_MAX: Final = 64
_METADATA_MIN: Final = 8
"""No pcodec column is shorter."""
_PREDICTED_MIN: Final = 1024
"""From this many numbers on, linear prediction of a high order is worth a try: its weights cost 4 bytes each."""

_COMPRESSOR: Final = wrapped.FileCompressor()
_DECOMPRESSOR: Final = wrapped.FileDecompressor.new(PCODEC_HEADER)[0]
_AUTO: Final = ChunkConfig(enable_8_bit=True)
_INDEX: Final = ChunkConfig(mode_spec=ModeSpec.classic(), enable_8_bit=True)
_PREDICTED: Final = tuple(ChunkConfig(delta_spec=DeltaSpec.try_conv1(order), enable_8_bit=True) for order in (8, 32))
_ALLOWED: Final = tuple(
    ChunkConfig(mode_spec=ModeSpec.classic(), delta_spec=delta, enable_8_bit=True)
    for delta in (DeltaSpec.no_op(), DeltaSpec.try_consecutive(1))
)


# ---------------------------------------------------------------- writing


def put_varint(out: bytearray, number: int) -> None:
    """Append an unsigned integer below 2^64: seven bits a byte, the lowest first, the top bit says that more follow."""
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def put_signed(out: bytearray, number: int) -> None:
    """Append a signed 64-bit integer, as the varint of 0, -1, 1, -2, 2 … -> 0, 1, 2, 3, 4 …."""
    put_varint(out, (number << 1) if number >= 0 else (~number << 1 | 1))


def put_integers(out: bytearray, numbers: NDArray[np.int64]) -> None:
    """Append a sequence of at least one integer.

    Args:
        out: where to.
        numbers: (n,) int64.
    """
    low, high = int(numbers.min()), int(numbers.max())
    if low == high:
        out.append(_CONSTANT)
        put_signed(out, low)
        return
    stored = (numbers - np.int64(low)).view(np.uint64)
    form = (high - low > 0xFF) + (high - low > 0xFFFF) + (high - low > 0xFFFF_FFFF)  # noqa: PLR2004 - widths
    narrow = stored.astype(_UNSIGNED[form][0])
    body, compressed = _shorter(narrow)
    direct = bytearray([(_DIRECT if compressed else _PLAIN) + form])
    put_signed(direct, low)
    direct += body
    # A look at the first few tells most columns that repeat themselves from those that do not.
    repeats = form > 0 and len(set(stored[:_DISTINCT_MAX].tolist())) <= _DISTINCT_MAX // 2
    if repeats and len(distinct := _distinct(stored)) <= _DISTINCT_MAX:
        short = bytearray([_DICTIONARY])
        put_signed(short, low)
        put_varint(short, len(distinct))
        for step in np.diff(distinct).tolist():
            put_varint(short, step)
        short += _compress(np.searchsorted(distinct, stored).astype(np.uint8), _INDEX)
        direct = min(direct, short, key=len)
    out += direct


def _distinct(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The different numbers, ascending."""
    ordered = np.sort(numbers)  # not np.unique: it loads numpy.ma, 1.3 MB that a small device does not have
    different: NDArray[np.uint64] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return different


def put_floats(out: bytearray, numbers: NDArray[np.float64]) -> bool:
    """Append (n,) float64 bit for bit: as one pcodec column (True), or as they are, if that is shorter."""
    body, compressed = _shorter(numbers)
    out += body
    return compressed


def _shorter(numbers: NDArray[Any]) -> tuple[bytes, bool]:
    """A pcodec column (True), or plain little-endian numbers (False), whichever is shorter."""
    if numbers.nbytes > _METADATA_MIN:
        compressed = _compress(numbers)
        if len(compressed) < numbers.nbytes:
            return compressed, True
    return numbers.astype(numbers.dtype.newbyteorder("<")).tobytes(), False


def _compress(numbers: NDArray[Any], config: ChunkConfig = _AUTO) -> bytes:
    candidates = [_chunk(numbers, config)]
    if len(numbers) >= _PREDICTED_MIN and numbers.itemsize < 8:  # noqa: PLR2004 - pcodec predicts 32 bits at most
        candidates += [_chunk(numbers, predicted) for predicted in _PREDICTED]
    candidates = [candidate for candidate in candidates if not _refused(candidate, numbers.itemsize)]
    # pcodec chose what we do not send: take the better of two that we do.
    return min(candidates or [_chunk(numbers, allowed) for allowed in _ALLOWED], key=len)


def _chunk(numbers: NDArray[Any], config: ChunkConfig) -> bytes:
    chunk = _COMPRESSOR.chunk_compressor(numbers, config)
    encoded: bytes = chunk.write_meta() + chunk.write_page(0)
    return encoded


def _refused(chunk: bytes, width: int) -> str:
    """Why a chunk is none of ours; "" if it is. Looks at the two fields that decide what pcodec would allocate."""
    mode = chunk[0] & 0xF
    # Where the delta encoding stands: behind the mode's own field, which is empty, a base, a base, or one byte.
    place = (0, width, width, 1)[mode] if mode <= 3 else len(chunk)  # noqa: PLR2004 - FloatQuant
    if place >= len(chunk):
        return f"mode {mode} of pcodec in {len(chunk)} bytes"
    delta = chunk[place] >> 4
    return "" if delta in {0, 1, 3} else f"delta encoding {delta} of pcodec"


# ---------------------------------------------------------------- reading


class BodyReader:
    """Reads a body from front to back.

    Args:
        body: the bytes.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def byte(self) -> int:
        """One byte.

        Raises:
            NeverRetry: the body ends here.
        """
        at = self._at
        if at >= len(self._body):
            raise NeverRetry(f"columns end after {at} bytes")
        self._at = at + 1
        return self._body[at]

    def varint(self) -> int:
        """An unsigned integer.

        Raises:
            NeverRetry: it does not fit into 64 bits, or the body ends.
        """
        body, at = self._body, self._at
        if at < len(body) and (number := body[at]) <= 0x7F:  # noqa: PLR2004 - one byte says it, as nearly always
            self._at = at + 1
            return number
        return self.varints(1)[0]

    def varints(self, count: int) -> list[int]:
        """So many unsigned integers.

        Raises:
            NeverRetry: one does not fit into 64 bits, or the body ends.
        """
        numbers = []
        body, at, number, shift = self._body, self._at, 0, 0
        while count:
            if at >= len(body):
                raise NeverRetry(f"columns end after {at} bytes")
            byte = body[at]
            at += 1
            if byte > 0x7F:  # noqa: PLR2004 - the top bit: more follow
                number |= (byte & 0x7F) << shift
                shift += 7
                if shift > 63:  # noqa: PLR2004 - ten bytes are the most
                    raise NeverRetry("an integer of more than 64 bits")
                continue
            number |= byte << shift
            if number >> 64:
                raise NeverRetry("an integer of more than 64 bits")
            numbers.append(number)
            number = shift = 0
            count -= 1
        self._at = at
        return numbers

    def signed(self) -> int:
        """A signed 64-bit integer.

        Raises:
            NeverRetry: it does not fit into 64 bits, or the body ends.
        """
        number = self.varint()
        return ~(number >> 1) if number & 1 else number >> 1

    def integers(self, count: int) -> NDArray[np.int64] | int:
        """A sequence: (count,) int64, or the one integer that all of them are equal to.

        Raises:
            NeverRetry: there is no such sequence here.
        """
        base, above = self.sequence(count)
        if above is None:
            return base
        numbers = above.astype(np.int64)
        numbers += np.int64(base)
        return numbers

    def sequence(self, count: int) -> tuple[int, NDArray[Any] | None]:
        """A sequence as it was stored: a base, and how much each is above it, modulo 2^64; None: nothing.

        Raises:
            NeverRetry: there is no such sequence here.
        """
        form, base = self.byte(), self.signed()
        if form == _CONSTANT:
            return base, None
        if form == _DICTIONARY:
            return 0, self._dictionary(base, count)
        if form >= _PLAIN + len(_UNSIGNED):
            raise NeverRetry(f"integers in form {form}, which this version does not know")
        dtype, name = _UNSIGNED[(form - _DIRECT) % len(_UNSIGNED)]
        return base, self._chunk(count, dtype, name) if form < _PLAIN else self._plain(count, dtype)

    def floats(self, count: int, *, compressed: bool) -> NDArray[np.float64]:
        """(count,) float64, as one pcodec column or as they are.

        Raises:
            NeverRetry: there are no such numbers here.
        """
        dtype = np.dtype(np.float64)
        return self._chunk(count, dtype, "f64") if compressed else self._plain(count, dtype)

    def _plain(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        end = self._at + count * dtype.itemsize
        if end > len(self._body):
            raise NeverRetry(f"columns end after {len(self._body)} bytes, not {end}")
        numbers: NDArray[Any] = np.frombuffer(self._body, dtype.newbyteorder("<"), count, self._at)
        self._at = end
        return numbers

    def _dictionary(self, base: int, count: int) -> NDArray[np.int64]:
        size = self.varint()
        if not 0 < size <= 256:  # noqa: PLR2004 - what a byte can name
            raise NeverRetry(f"a dictionary of {size} integers: 1 to 256 are taken")
        distinct = list(accumulate(self.varints(size - 1), initial=base))
        if distinct[-1] >= 1 << 63:
            raise NeverRetry("a dictionary beyond 64 bits")
        index = self._chunk(count, *_UNSIGNED[0])
        try:
            numbers: NDArray[np.int64] = np.array(distinct, np.int64)[index]
        except IndexError:
            raise NeverRetry(f"entry {int(index.max())} of a dictionary of {size}") from None
        return numbers

    def _chunk(self, count: int, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
        # No encoder spends more; without this bound each column would copy all that follows it.
        chunk = self._body[self._at : self._at + 24 * count + 512]
        if not chunk or (refusal := _refused(chunk, dtype.itemsize)):
            raise NeverRetry(refusal if chunk else "columns end where a column should begin")
        numbers = np.empty(count, dtype)
        try:
            decompressor, meta_size = _DECOMPRESSOR.chunk_decompressor(chunk, name)
            progress, page_size = decompressor.read_page_into(chunk[meta_size:], count, numbers)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise NeverRetry(f"pcodec: {error}"[:200]) from error
        except BaseException as error:
            # A panic in Rust is a BaseException of no importable class. It concerns these bytes and nothing else.
            if type(error).__module__ != "pyo3_runtime":
                raise
            raise NeverRetry(f"pcodec: {error}"[:200]) from error
        if progress.n_processed != count:
            raise NeverRetry(f"pcodec: {progress.n_processed} numbers, not {count}")
        self._at += meta_size + page_size
        return numbers

"""Readings, keys and strategies that the tests of the wire share."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.readings import Channel, Flag, Readings, Schema

DEVICE = "pump-7"
EPOCH = bytes(range(8))
KEY = SigningKey(bytes(range(32)))
CLOUD_KEY = SigningKey(bytes(range(32, 64)))


def ring() -> KeyRing:
    """Trusts the device and the cloud of these examples."""
    keys = KeyRing()
    keys.trust(DEVICE, KEY.public)
    keys.trust("cloud", CLOUD_KEY.public)
    return keys


def schema(channels: int) -> Schema:
    """So many channels, named c0, c1 …."""
    return Schema(device=DEVICE, stream="valve", channels=tuple(Channel(name=f"c{i}") for i in range(channels)))


def printed(rows: int, channels: int = 4, seed: int = 1) -> Readings:
    """Like most sensors: a random walk printed with three decimals once a second, a declared u, all passed."""
    rng = np.random.default_rng(seed)
    value = np.round(20 + np.cumsum(rng.normal(0, 0.01, (rows, channels)), axis=0), 3)
    return Readings(
        schema(channels),
        1_581_168_647_000_000_000 + 1_000_000_000 * np.arange(rows),
        value,
        np.broadcast_to(np.float32([0.01 * (1 + i) for i in range(channels)]), value.shape),
        np.full(value.shape, Flag.PASS, np.uint8),
        np.zeros(value.shape, np.uint32),
    )


def _values() -> st.SearchStrategy[float]:
    decimal = st.builds(lambda i, d: i / 10**d, st.integers(-(10**7), 10**7), st.integers(0, 6))
    special = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 2.0**53, 2.0**53 + 2, 1e300, -9999.0])
    return decimal | special | st.floats(width=64)


@st.composite
def batches(draw: st.DrawFn, rows_max: int = 40, channels_max: int = 3) -> Readings:
    """Any readings at all, each column drawn from a few values of its own, as recorded data often are."""
    rows, channels = draw(st.integers(1, rows_max)), draw(st.integers(1, channels_max))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))

    def filled(elements: st.SearchStrategy[Any], dtype: Any, columns: int = channels) -> Any:
        pools = [draw(st.lists(elements, min_size=1, max_size=6)) for _ in range(columns)]
        return np.stack([rng.choice(np.array(pool, dtype), rows) for pool in pools], axis=1)

    start, step = draw(st.integers(-(10**18), 10**18)), draw(st.integers(-(10**9), 10**9))
    jitter = filled(st.integers(-(2**61), 2**61) | st.integers(-9, 9) | st.just(0), np.int64, 1)[:, 0]
    return Readings(
        schema(channels),
        start + step * np.arange(rows) + jitter,
        filled(_values(), np.float64),
        filled(st.floats(0, width=32) | st.sampled_from([np.nan, 0.0, 0.5]), np.float32),
        filled(st.sampled_from([1, 2, 3, 4, 9]) | st.integers(0, 255), np.uint8),
        filled(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2]), np.uint32),
    )


def same_bits(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Equal bit for bit, all NaN taken as one."""
    nan = np.isnan(left)
    equal = np.ascontiguousarray(left).view(np.uint64) == np.ascontiguousarray(right).view(np.uint64)
    return bool((nan == np.isnan(right)).all() and (equal | nan).all())

"""Columns: bit for bit there and back, few bytes, and nothing that hostile bytes could do."""

from __future__ import annotations

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.wire_examples import batches, printed, same_bits, schema

from trueline_wire import integers
from trueline_wire.columns import VALUES_MAX, decode_columns, encode_columns
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import ROWS_MAX
from trueline_wire.grid import decimals_of
from trueline_wire.readings import Flag, Readings

ROOT = Path(__file__).parents[2]


def round_trip(readings: Readings) -> Readings:
    return decode_columns(encode_columns(readings), readings.schema, len(readings))


def assert_same(got: Readings, sent: Readings) -> None:
    assert got.schema == sent.schema
    assert np.array_equal(got.time_ns, sent.time_ns)
    assert same_bits(got.value, sent.value)
    assert np.array_equal(got.flag, sent.flag)
    assert np.array_equal(got.reason, sent.reason)
    assert_u_close(got.u, sent.u)


def assert_u_close(got: np.ndarray, sent: np.ndarray) -> None:
    assert np.array_equal(np.isnan(got), np.isnan(sent))
    assert np.array_equal(got == 0, sent == 0)
    normal = np.isfinite(sent) & (sent >= np.finfo(np.float32).tiny)
    assert (np.abs(got[normal].astype(float) / sent[normal].astype(float) - 1) <= 0.005).all()
    assert np.array_equal(np.isinf(got), np.isinf(sent))


def column(values: np.ndarray, **changes: np.ndarray) -> Readings:
    value = np.asarray(values, np.float64).reshape(-1, 1)
    readings = Readings.raw(schema(1), np.arange(len(value)), value)
    return Readings(**{**{name: getattr(readings, name) for name in readings.__dataclass_fields__}, **changes})


# ---------------------------------------------------------------- there and back


@given(batches())
@settings(max_examples=200)
def test_any_batch_comes_back(readings: Readings) -> None:
    """Times, values, flags and reasons come back bit for bit, u within 0.5 %, whatever they are."""
    assert_same(round_trip(readings), readings)


@pytest.mark.parametrize("decimals", range(13))
def test_long_columns_come_back(decimals: int) -> None:
    """Columns long enough for linear prediction come back too, on every grid."""
    numbers = np.random.default_rng(decimals).integers(-3000, 3000, 1100)
    readings = column(numbers / 10.0**decimals)
    assert_same(round_trip(readings), readings)


@pytest.mark.parametrize("scale", [1e-300, 1 / 3, 1.0, 2.0**31, 2.0**33, 1e30])
def test_long_columns_of_any_width_come_back(scale: float) -> None:
    """Long columns come back also where their integers need 64 bits, and where there is no grid."""
    readings = column(np.cumsum(np.random.default_rng(7).integers(-99, 100, 1500)) * scale)
    assert_same(round_trip(readings), readings)


@pytest.mark.parametrize(
    "values",
    [
        [-0.0, 0.0, 1.5, 2.5],
        [np.nan] * 5,
        [np.inf, -np.inf, np.nan, 3.25],
        [5e-324, 1e-310, 2.2250738585072014e-308],
        [2.0**53, 2.0**53 + 2, -(2.0**62), 1e300],
        [0.1 + 0.2, 0.3, 1 / 3],
        [20.1] * 50 + [-0.0] + [20.2] * 50,
        [20.1] * 50 + [1e30] + [20.2] * 50,
        [7.0],
    ],
    ids=[
        "signed zero",
        "all NaN",
        "infinities",
        "subnormal",
        "huge",
        "off the grid",
        "one -0.0",
        "one outlier",
        "one row",
    ],
)
def test_awkward_values_come_back(values: list[float]) -> None:
    """A signed zero, infinities, subnormal and huge numbers keep their bits."""
    readings = column(np.array(values))
    assert_same(round_trip(readings), readings)


def test_any_nan_comes_back_canonical() -> None:
    """A NaN with a payload, or negative, comes back as the canonical NaN."""
    strange = np.array([0x7FF8000000000123, 0xFFF8000000000000], np.uint64).view(np.float64)
    for values in (np.concatenate([strange, [1.0]]), np.concatenate([strange, [1 / 3]])):
        bits = round_trip(column(values)).value.view(np.uint64)
        assert (bits[:2] == 0x7FF8000000000000).all()


def test_arrays_of_any_layout_are_taken() -> None:
    """Slices and transposed arrays are encoded as what they show."""
    readings = printed(50)
    turned = Readings(
        readings.schema,
        readings.time_ns[::-1],
        np.asfortranarray(readings.value)[::-1],
        readings.u[::-1],
        readings.flag[::-1],
        readings.reason[::-1],
    )
    assert_same(round_trip(turned), turned)


def test_recorded_runs_come_back(data_folder: Path) -> None:
    """Every row of the recorded valve runs comes back bit for bit, in frames of 600 rows and in their tails."""
    for path in sorted((data_folder / "skab").rglob("*.csv")):
        lines = path.read_text().splitlines()[1:]
        values = np.array([[float(text) for text in line.split(";")[1:9]] for line in lines])
        for start in range(0, len(values), 600):
            part = values[start : start + 600]
            readings = Readings.raw(schema(8), np.arange(len(part)) * 10**9, part, 0.5)
            assert_same(round_trip(readings), readings)


def test_a_peer_without_pcodec_is_understood() -> None:
    """What a microcontroller writes by hand from the specification, without any compression, is read."""
    body = (
        b"\x01\x03"  # layout, three rows
        b"\xd0\x0f\x64\x04\x00\x00"  # times: from 1000 in steps of 100, nominally two of them, all exactly so
        b"\x00\x01\x00\x00"  # every flag 1, every reason 0
        b"\x00\xe0\x5d"  # every u 1.0
        b"\x02\x07\x0f" + struct.pack("<3H", 0, 258, 515)  # two decimals: -8 and what is added to it
        + b"\x1e" + struct.pack("<3d", 0.1, -0.0, 1e300)  # float64 as they are
    )  # fmt: skip
    got = decode_columns(body, schema(2), 3)
    assert got.time_ns.tolist() == [1000, 1200, 1400]
    assert got.value[:, 0].tolist() == [-0.08, 2.5, 5.07]
    assert got.value[:, 1].tolist() == [0.1, 0.0, 1e300]
    assert (got.u == 1).all()
    assert (got.flag == Flag.PASS).all()


# ---------------------------------------------------------------- few bytes


@pytest.mark.parametrize(
    ("readings", "at_most"),
    [
        (column(np.full(600, 21.5)), 40),
        (column(np.full(600, np.nan), flag=np.full((600, 1), Flag.MISSING, np.uint8)), 40),
        (column(np.arange(600) % 3 * 0.25), 220),
        (printed(600, 8), 600 * 8 * 1.1),
    ],
    ids=["constant", "all missing", "three values", "a walk in steps of 0.01"],
)
def test_plain_columns_cost_little(readings: Readings, at_most: float) -> None:
    """What hardly says anything takes hardly any bytes."""
    assert len(encode_columns(readings)) <= at_most


def test_signed_zeros_cost_little() -> None:
    """A zero with a sign, as rounding makes them, costs about a byte, however many there are."""
    rounded = np.round(np.random.default_rng(2).normal(0, 0.3, 600), 1)
    assert np.signbit(rounded[rounded == 0]).sum() > 30
    assert len(encode_columns(column(rounded))) < len(encode_columns(column(rounded + 0.0))) + 120


def test_a_few_bad_values_do_not_spoil_a_column() -> None:
    """One value in a hundred off the grid costs its own bytes, not those of all others."""
    readings = printed(600, 1)
    spoilt = readings.value.copy()
    spoilt[::100] = [[-0.0], [np.inf], [1e30], [1 / 3], [np.nan], [2.0**60]]
    assert len(encode_columns(column(spoilt))) < len(encode_columns(column(readings.value))) + 100


def test_vibration_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resonance driven by noise takes hardly more than the noise alone; without prediction it takes more."""
    rng = np.random.default_rng(5)
    values = np.zeros(4096)
    for i, noise in enumerate(rng.normal(0, 20, 4096)):
        values[i] = noise + 1.8 * values[i - 1] - 0.97 * values[i - 2]
    readings = column(np.rint(values))
    entropy_bits = np.log2(20 * np.sqrt(2 * np.pi * np.e))
    assert 8 * len(encode_columns(readings)) / 4096 < 1.08 * entropy_bits
    monkeypatch.setattr(integers, "_PREDICTED", ())
    assert 8 * len(encode_columns(readings)) / 4096 > 1.12 * entropy_bits


def test_grid_of_printed_numbers() -> None:
    """The fewest decimals are found that give every value back exactly."""
    found = decimals_of(np.array([21.5, 3.125, -7.0]), 0)
    assert found is not None
    assert found[0] == 3
    assert decimals_of(np.array([1 / 3, 0.1]), 0) is None


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("rows", "channels"), [(0, 1), (ROWS_MAX + 1, 1), (VALUES_MAX // 100 + 1, 100)], ids=["none", "rows", "values"]
)
def test_too_many_rows_are_refused_on_both_sides(rows: int, channels: int) -> None:
    """Nothing is encoded, and nothing allocated, beyond the limits of a frame."""
    readings = Readings.raw(
        schema(channels), np.zeros(rows, np.int64), np.zeros((rows, channels)).reshape(rows, channels)
    )
    with pytest.raises(ValueError, match="rows"):
        encode_columns(readings)
    with pytest.raises(NeverRetry):
        decode_columns(encode_columns(printed(3)), schema(channels), rows)


def test_negative_u_is_refused() -> None:
    """A standard uncertainty below zero is a bug of the stage that made it."""
    with pytest.raises(ValueError, match="below zero"):
        encode_columns(Readings.raw(schema(1), [1], [[2.0]], -0.5))


def test_rows_must_be_those_of_the_header() -> None:
    """A body of 5 rows in a frame of 4 or 6 is refused, and so is an unknown layout."""
    body = encode_columns(printed(5))
    for rows in (4, 6):
        with pytest.raises(NeverRetry, match="5 rows"):
            decode_columns(body, schema(4), rows)
    with pytest.raises(NeverRetry, match="layout 2"):
        decode_columns(b"\x02" + body[1:], schema(4), 5)


def test_what_follows_the_columns_is_ignored() -> None:
    """There is room for extensions behind the columns."""
    readings = printed(5)
    assert_same(decode_columns(encode_columns(readings) + b"later", readings.schema, 5), readings)


def survives(body: bytes, like: Readings) -> bool:
    """Whether the body decodes; NeverRetry is the only other way out."""
    try:
        got = decode_columns(body, like.schema, len(like))
    except NeverRetry:
        return False
    assert got.value.shape == like.value.shape
    return True


def busy_batch() -> Readings:
    rng = np.random.default_rng(3)
    readings = printed(24, 5)
    value, u, flag = readings.value.copy(), np.array(readings.u), np.array(readings.flag)
    value[:, 1] = rng.normal(size=24)
    value[rng.random(24) < 0.2, 2] = np.nan
    flag[rng.random((24, 5)) < 0.1] = Flag.FAIL
    value[7, 3] = np.inf
    value[:, 4] = rng.integers(0, 3, 24) * 1000
    u[:, 0] = rng.random(24)
    return Readings(readings.schema, readings.time_ns + rng.integers(0, 99, 24), value, u, flag, flag * np.uint32(3))


def test_truncated_bodies_are_refused() -> None:
    """A body cut at any byte is refused."""
    readings = busy_batch()
    body = encode_columns(readings)
    assert survives(body, readings)
    assert not any(survives(body[:size], readings) for size in range(len(body)))


def test_every_flipped_bit_is_survived() -> None:
    """Any flipped bit, in a body that is signed all the same, gives readings or NeverRetry."""
    readings = busy_batch()
    body = encode_columns(readings)
    outcomes = []
    for bit in range(8 * len(body)):
        mutant = bytearray(body)
        mutant[bit // 8] ^= 1 << bit % 8
        outcomes.append(survives(bytes(mutant), readings))
    assert any(outcomes)
    assert not all(outcomes)


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 40))
@settings(max_examples=200)
def test_spliced_bytes_are_survived(foreign: bytes, at: int, removed: int) -> None:
    """Any bytes in place of any others give readings or NeverRetry."""
    readings = busy_batch()
    body = encode_columns(readings)
    survives(body[: 3 + at] + foreign + body[3 + at + removed :], readings)


@pytest.mark.parametrize("mode", range(16))
@pytest.mark.parametrize("delta", range(16))
def test_only_frugal_kinds_of_pcodec_are_taken(mode: int, delta: int) -> None:
    """A column in a mode or delta encoding that allocates as it pleases is refused before pcodec sees it."""
    chunk = bytearray(20)
    chunk[0] = mode
    place = {0: 0, 1: 4, 2: 4, 3: 1}.get(mode, 10)
    chunk[place] |= delta << 4
    refused = bool(integers._refused(bytes(chunk), 4))
    assert refused == (mode > 3 or delta not in {0, 1, 3})


# ---------------------------------------------------------------- the bomb

# A pcodec file of eight zeros that claims to hold 2^29 numbers.
BOMB = bytes.fromhex("70636f2103001f000000080401060700000010000000000000000000040000")
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
"""


def run_limited(code: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own that may not have more than 1 GiB."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED + code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def test_control_bare_pcodec_dies_of_the_bomb() -> None:
    """Negative control: decoded without our bounds, 31 bytes end the process."""
    done = run_limited(f"from pcodec import standalone\nstandalone.simple_decompress({BOMB!r})\nprint('alive')")
    assert done.returncode != 0
    assert "alive" not in done.stdout
    assert "memory allocation" in done.stderr


def test_the_bomb_is_refused_before_anything_is_allocated() -> None:
    """The same bytes, as a body or anywhere in one, do no harm under the same limit of memory."""
    done = run_limited(
        "from tests.support.wire_examples import printed\n"
        "from trueline_wire.columns import decode_columns, encode_columns\n"
        "from trueline_wire.errors import NeverRetry\n"
        f"bomb, readings = {BOMB!r}, printed(60)\n"
        "body = encode_columns(readings)\n"
        "bodies = [bomb, *(body[:at] + bomb for at in range(len(body)))]\n"
        "refused = []\n"
        "for hostile in bodies:\n"
        "    try:\n"
        "        decode_columns(hostile, readings.schema, 60)\n"
        "    except NeverRetry:\n"
        "        refused.append(hostile)\n"
        # not ru_maxrss: it begins with what the process had that started this one
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(bomb in refused, len(refused) > len(bodies) // 2, int(peak.split()[1]) < 200 * 1024)\n"
    )
    assert done.stdout == "True True True\n", done.stderr


def test_the_largest_frame_takes_little_memory() -> None:
    """A body of a few bytes that stands for as many values as a frame may hold costs 9 MB, and no frame costs more."""
    readings = Readings.raw(schema(8), np.arange(ROWS_MAX), np.zeros((ROWS_MAX, 8)), 0.5)
    body = encode_columns(readings)
    assert len(body) < 100
    got = decode_columns(body, readings.schema, ROWS_MAX)
    assert sum(array.nbytes for array in (got.time_ns, got.value, got.u, got.flag, got.reason)) < 10e6


def test_the_format_of_pcodec_is_the_one_we_pinned() -> None:
    """Another version of pcodec would need another layout number."""
    assert integers._COMPRESSOR.write_header() == integers.PCODEC_HEADER


def test_threads_do_not_meet() -> None:
    """Several threads encode and decode at once, each its own."""

    def there_and_back(seed: int) -> bool:
        readings = printed(60 + seed, 3, seed)
        return all(same_bits(round_trip(readings).value, readings.value) for _ in range(20))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(there_and_back, range(12)))

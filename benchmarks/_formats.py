"""Other people's ways to send a batch of readings: what Trueline's frames are measured against.

Promises: each function gives the bytes one would send for a batch of rows, times and values and names, nothing else (no
uncertainty, no flags, no authenticator: these make only ours longer), by the format's own specification, and the best
of what its ordinary libraries give. Refuses to know what is measured.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import cbor2
import numpy as np
import pcodec
import pyarrow as pa
from pcodec import standalone
from pyarrow import ipc, parquet

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GZIP_LEVEL = 9
ZSTD_LEVEL = 19
DEVICE = "skab-valve-1"
STREAM = "valve"


class Batch(NamedTuple):
    """Rows of one stream: names (k,), times (n,) int64 ns since 1970, values (n, k) float64 with NaN where missing."""

    names: list[str]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]


def zipped(data: bytes) -> bytes:
    """Gzip, best level."""
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def zstandard(data: bytes) -> bytes:
    """Zstandard, a high level."""
    return bytes(pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(data))


def numbers(row: NDArray[np.float64]) -> list[float | None]:
    """A row as Python floats, None where missing."""
    return [None if value != value else value for value in row.tolist()]  # noqa: PLR0124 - NaN differs from itself


def json_rows(batch: Batch) -> bytes:
    """JSON, an object a row, as most gateways send it."""
    rows = [
        {"time": time_ns // 1_000_000, **dict(zip(batch.names, numbers(row), strict=True))}
        for time_ns, row in zip(batch.time_ns.tolist(), batch.value, strict=True)
    ]
    return json.dumps({"device": DEVICE, "stream": STREAM, "readings": rows}, separators=(",", ":")).encode()


def json_columns(batch: Batch) -> bytes:
    """JSON, an array a channel: the shortest JSON, which hardly anybody sends."""
    columns = {name: numbers(batch.value[:, index]) for index, name in enumerate(batch.names)}
    times = (batch.time_ns // 1_000_000).tolist()
    return json.dumps({"device": DEVICE, "stream": STREAM, "time": times, **columns}, separators=(",", ":")).encode()


def line_protocol(batch: Batch) -> bytes:
    """InfluxDB line protocol, a line a row, times in milliseconds."""
    names = [name.replace(" ", r"\ ") for name in batch.names]
    lines = []
    for time_ns, row in zip(batch.time_ns.tolist(), batch.value, strict=True):
        fields = ",".join(
            f"{name}={value!r}" for name, value in zip(names, numbers(row), strict=True) if value is not None
        )
        lines.append(f"{STREAM},device={DEVICE} {fields} {time_ns // 1_000_000}")
    return "\n".join(lines).encode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, wire_type: int, content: bytes) -> bytes:
    length = _varint(len(content)) if wire_type == 2 else b""
    return _varint(number << 3 | wire_type) + length + content


def sparkplug(batch: Batch) -> bytes:
    """Sparkplug B 3.0 DDATA, protobuf by hand: a metric a value, by alias (its shortest form), each with its timestamp.

    Payload {timestamp = 1, metrics = 2, seq = 3}; Metric {alias = 2, timestamp = 3, datatype = 4 (Double, 10),
    is_null = 7, double_value = 13}.
    """
    double = _field(4, 0, _varint(10))
    metrics = []
    for time_ns, row in zip(batch.time_ns.tolist(), batch.value, strict=True):
        stamp = _field(3, 0, _varint(time_ns // 1_000_000))
        for alias, value in enumerate(numbers(row)):
            held = _field(7, 0, b"\1") if value is None else _field(13, 1, struct.pack("<d", value))
            metrics.append(_field(2, 2, _field(2, 0, _varint(alias)) + stamp + double + held))
    head = _field(1, 0, _varint(int(batch.time_ns[-1]) // 1_000_000))
    return head + b"".join(metrics) + _field(3, 0, _varint(7))


def senml_cbor(batch: Batch) -> bytes:
    """SenML in CBOR (RFC 8428): a record a value, name and time relative to the base."""
    start_s = int(batch.time_ns[0]) / 1e9
    records = []
    for time_ns, row in zip(batch.time_ns.tolist(), batch.value, strict=True):
        elapsed_s = (time_ns - int(batch.time_ns[0])) / 1e9
        elapsed = int(elapsed_s) if elapsed_s.is_integer() else elapsed_s
        records += [
            {0: name, 6: elapsed, 2: value}
            for name, value in zip(batch.names, numbers(row), strict=True)
            if value is not None
        ]
    if records:
        records[0] = {-2: f"{DEVICE}/{STREAM}/", -3: start_s, **records[0]}
    return cbor2.dumps(records, canonical=True)


def _table(batch: Batch) -> pa.Table:
    columns = [pa.array(batch.time_ns, pa.timestamp("ns", "UTC"))]
    columns += [pa.array(batch.value[:, index]) for index in range(len(batch.names))]
    return pa.table(columns, names=["time", *batch.names])


def parquet_zstd(batch: Batch) -> bytes:
    """Parquet, a row group, zstd, no dictionaries (they cost more than they save here)."""
    sink = io.BytesIO()
    parquet.write_table(_table(batch), sink, compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=False)
    return sink.getvalue()


def arrow_zstd(batch: Batch) -> bytes:
    """Arrow IPC stream, buffers in zstd."""
    sink = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=ZSTD_LEVEL))
    table = _table(batch)
    with ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def pcodec_alone(batch: Batch) -> bytes:
    """A standalone pcodec file a column, best level, no names."""
    config = pcodec.ChunkConfig(compression_level=12)
    columns = [batch.time_ns, *(np.ascontiguousarray(column) for column in batch.value.T)]
    return b"".join(standalone.simple_compress(column, config) for column in columns)


def _then(write: Callable[[Batch], bytes], compress: Callable[[bytes], bytes]) -> Callable[[Batch], bytes]:
    return lambda batch: compress(write(batch))


FORMATS: dict[str, Callable[[Batch], bytes]] = {
    "json_gzip": _then(json_rows, zipped),
    "json_zstd": _then(json_rows, zstandard),
    "json_columns_gzip": _then(json_columns, zipped),
    "line_protocol_gzip": _then(line_protocol, zipped),
    "sparkplug_b_gzip": _then(sparkplug, zipped),
    "senml_cbor_zstd": _then(senml_cbor, zstandard),
    "parquet_zstd": parquet_zstd,
    "arrow_ipc_zstd": arrow_zstd,
    "pcodec_alone": pcodec_alone,
}

SETTINGS = {
    "json": "an object a row, times in ms; columns: an array a channel",
    "gzip": f"level {GZIP_LEVEL}",
    "zstd": f"level {ZSTD_LEVEL}, {pa.__version__} (pyarrow)",
    "sparkplug_b": "3.0 DDATA, protobuf by hand, a metric a value by alias with its timestamp",
    "senml": f"RFC 8428, cbor2 {version('cbor2')}",
    "parquet": f"pyarrow {pa.__version__}, zstd {ZSTD_LEVEL}, no dictionaries",
    "arrow_ipc": f"pyarrow {pa.__version__}, zstd {ZSTD_LEVEL}",
    "pcodec": f"{pcodec.__version__}, level 12, standalone",
}

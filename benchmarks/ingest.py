"""What one CPU second of the cloud takes in: verified, decoded, validated, rolled up, synced.

The ingest is the service's own (`Ingest`, receiver, journal), fed from memory by one thread, its CPU time the kernel's
count for the process; peers store the same rows in the same groups, each by its quickest documented way; the limit is
Arrow IPC appended to a file and synced, which verifies nothing and answers nothing. Then, beside an ingest that goes on
in the same process, a day of one device is asked for in steps of a minute, out of a journal of 50 million values.

Bounds: 3 M values/CPU s in frames of 600 rows by 8 channels, 0.5 M in frames of 60; the day's p95 below 20 ms.
"""

from __future__ import annotations

import csv
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import apsw
import numpy as np
import uvicorn
from _common import cpu_s, finish, parser, say

from trueline_cloud.api.app import create_app
from trueline_cloud.ingest.decode import FrameDecoder
from trueline_cloud.ingest.intake import Inbound
from trueline_cloud.ingest.marker import Marker
from trueline_cloud.ingest.metrics import Metrics
from trueline_cloud.ingest.trust import Devices, enroll
from trueline_cloud.ingest.worker import CommitSettings, Ingest
from trueline_cloud.live import Live
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.columns import encode_columns
from trueline_wire.control import SchemaMessage
from trueline_wire.delivery import Receiver
from trueline_wire.envelope import Lane
from trueline_wire.frame import Data, Open, seal_record
from trueline_wire.keys import SigningKey
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

CHANNELS = 8
START_NS = 1_770_000_000 * 1_000_000_000
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
BOUNDS = {600: 3.0e6, 60: 0.5e6}
QUERY_BOUND_MS = 20.0


# ---------------------------------------------------------------- input


def recorded(folder: Path | None, rows: int) -> tuple[NDArray[np.float64], str]:
    """(rows, 8) values: recorded runs of a valve test bed end to end, or a seeded walk with two decimals."""
    if folder is None:
        rng = np.random.default_rng(7)
        steps = rng.normal(0, 0.05, (rows, CHANNELS))
        return np.round(20 + np.cumsum(steps, axis=0), 2), "seeded walk, 2 decimals"
    runs = []
    for path in sorted(folder.rglob("*.csv")):
        with path.open() as file:
            lines = csv.reader(file, delimiter=";")
            next(lines)
            runs += [[float(item) for item in line[1 : 1 + CHANNELS]] for line in lines]
    values = np.array(runs)
    return np.tile(values, (-(-rows // len(values)), 1))[:rows], f"{len(values)} recorded rows, repeated"


class Device:
    """Makes a device's records."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.key = SigningKey(seed.to_bytes(32, "big"))
        self.epoch = seed.to_bytes(8, "big")
        names = ("Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure")
        names += ("Temperature", "Thermocouple", "Voltage", "FlowRate")
        self.schema = Schema(device=name, stream="valve", channels=tuple(Channel(name=n) for n in names))
        self.number, self.rows = 1, 0

    def opening(self) -> list[bytes]:
        """What comes before the first frame."""
        opened = Open(self.name, Lane.DATA, self.epoch, 0)
        return [SchemaMessage(self.name, self.schema.encoded).seal(self.key), seal_record(opened, self.key)]

    def frame(self, body: bytes, time_ns: NDArray[np.int64]) -> bytes:
        """The next frame."""
        self.number += 1
        record = Data(
            device=self.name,
            lane=Lane.DATA,
            epoch=self.epoch,
            number=self.number,
            rows_before=self.rows,
            rows=len(time_ns),
            schema=self.schema.hash,
            stored=len(time_ns),
            time_first=int(time_ns[0]),
            time_last=int(time_ns[-1]),
            body=body,
        )
        self.rows += len(time_ns)
        return seal_record(record, self.key)


class Batch(NamedTuple):
    """The columns of one frame, and their compressed body."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    body: bytes


def batches(values: NDArray[np.float64], rows: int, schema: Schema) -> Iterator[Batch]:
    """Frames of so many rows, one reading a second, with a declared uncertainty."""
    for start in range(0, len(values) - rows + 1, rows):
        time_ns = START_NS + np.arange(start, start + rows) * SECOND_NS
        value = values[start : start + rows]
        yield Batch(time_ns, value, encode_columns(Readings.raw(schema, time_ns, value, u=0.05)))


# ---------------------------------------------------------------- ours


class Cloud:
    """The service's ingest and journal in a folder, without its links."""

    def __init__(self, folder: Path, devices: list[Device]) -> None:
        for device in devices:
            enroll(folder / "devices", device.name, device.key.public_text)
        self.journal = Journal(folder / "journal.db")
        keys = Devices(folder / "devices")
        self.receiver = Receiver(self.journal, verifier=keys, signer=SigningKey(bytes(32)), decode=FrameDecoder())
        marker = Marker(folder / "marker")
        self.ingest = Ingest(self.receiver, self.journal, keys, marker, Metrics(), CommitSettings())
        self.acks = 0

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:  # noqa: ARG002 - as a link
        """An acknowledgement leaves."""
        self.acks += len(acks)

    def take(self, device: str, message: bytes) -> None:
        """A message comes."""
        self.ingest.take(Inbound(self, device, message))
        self.ingest.run_due()


def ours(folder: Path, frames: list[Batch], device_count: int) -> tuple[float, float, int]:
    """CPU seconds, wall seconds and bytes on disk for all frames of all devices."""
    devices = [Device(f"valve-{n}", n + 1) for n in range(device_count)]
    messages = [(d.name, message) for d in devices for message in d.opening()]
    messages += [(d.name, d.frame(batch.body, batch.time_ns)) for batch in frames for d in devices]
    cloud = Cloud(folder, devices)
    began_cpu, began = time.process_time(), time.monotonic()
    for device, message in messages:
        cloud.take(device, message)
    cloud.ingest.commit()
    cpu, wall = time.process_time() - began_cpu, time.monotonic() - began
    assert cloud.receiver.counts.frames == len(frames) * device_count, cloud.receiver.counts  # noqa: S101
    cloud.journal.close()
    return cpu, wall, (folder / "journal.db").stat().st_size


# ---------------------------------------------------------------- peers


def groups(frames: list[Batch], size: int) -> Iterator[list[Batch]]:
    """What is committed together."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def sqlite_rows(folder: Path, frames: list[Batch], size: int) -> float:
    """One SQLite row a reading, WAL, synchronous=FULL."""
    database = apsw.Connection(str(folder / "rows.db"))
    database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    columns = ", ".join(f"v{n} REAL" for n in range(CHANNELS))
    database.execute(f"CREATE TABLE readings (time_ns INTEGER PRIMARY KEY, {columns})")
    insert = f"INSERT INTO readings VALUES ({','.join('?' * (1 + CHANNELS))})"  # noqa: S608 - question marks
    began = time.process_time()
    for some in groups(frames, size):
        with database:
            for batch in some:
                rows = zip(batch.time_ns.tolist(), *batch.value.T.tolist(), strict=True)
                database.executemany(insert, rows)
    used = time.process_time() - began
    database.close()
    return used


def duckdb_arrow(folder: Path, frames: list[Batch], size: int) -> float:
    """DuckDB, its own file, inserted from Arrow."""
    import duckdb  # noqa: PLC0415 - a peer
    import pyarrow as pa  # noqa: PLC0415

    database = duckdb.connect(str(folder / "duck.db"), config={"threads": 1})
    columns = ", ".join(f"v{n} DOUBLE" for n in range(CHANNELS))
    database.execute(f"CREATE TABLE readings (time_ns BIGINT, {columns})")
    began = time.process_time()
    for some in groups(frames, size):
        database.register("batch", _arrow(pa, some))
        database.execute("INSERT INTO readings SELECT * FROM batch")
    used = time.process_time() - began
    database.close()
    return used


def victoria(folder: Path, frames: list[Batch], size: int, binary: str) -> tuple[float, float]:
    """Line protocol into VictoriaMetrics over loopback: its own CPU seconds, and with the sender's."""
    with ExitStack() as stack:
        port = _free_port()
        log = stack.enter_context((folder / "victoria.log").open("wb"))
        argv = [binary, f"-storageDataPath={folder / 'victoria'}", f"-httpListenAddr=127.0.0.1:{port}"]
        server = subprocess.Popen(argv, stdout=log, stderr=log)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        url = f"http://127.0.0.1:{port}"
        _wait_for(url + "/health")
        began, began_server = time.process_time(), cpu_s(server.pid)
        for some in groups(frames, size):
            request = urllib.request.Request(f"{url}/write?precision=ns", _lines(some), method="POST")  # noqa: S310 - ours
            urllib.request.urlopen(request).close()  # noqa: S310 - ours
        urllib.request.urlopen(f"{url}/internal/force_flush").close()  # noqa: S310 - ours
        used = cpu_s(server.pid) - began_server
        return used, used + time.process_time() - began


def arrow_append(folder: Path, frames: list[Batch], size: int) -> float:
    """The limit: Arrow IPC appended to a file, synced once a group."""
    import pyarrow as pa  # noqa: PLC0415 - the limit

    with (folder / "limit.arrow").open("wb") as file:
        began = time.process_time()
        writer: Any = None
        for some in groups(frames, size):
            table = _arrow(pa, some)
            writer = writer or pa.ipc.new_stream(file, table.schema)
            writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        return time.process_time() - began


def _arrow(pa: Any, some: list[Batch]) -> Any:
    time_ns = np.concatenate([batch.time_ns for batch in some])
    value = np.concatenate([batch.value for batch in some])
    names = ["time_ns", *(f"v{n}" for n in range(CHANNELS))]
    return pa.table([time_ns, *(np.ascontiguousarray(column) for column in value.T)], names=names)


def _lines(some: list[Batch]) -> bytes:
    lines = []
    for batch in some:
        for stamp, row in zip(batch.time_ns.tolist(), batch.value.tolist(), strict=True):
            fields = ",".join(f"v{n}={item!r}" for n, item in enumerate(row))
            lines.append(f"valve,device=d {fields} {stamp}")
    return "\n".join(lines).encode()


def _free_port() -> int:
    from trueline_sim.children import free_port  # noqa: PLC0415 - beside its only use

    return free_port()


def _wait_for(url: str, patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310 - ours
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


# ---------------------------------------------------------------- the day's query


def query(folder: Path, values: NDArray[np.float64], million: float, asks: int) -> dict[str, Any]:
    """A journal of so many values; then a day of one device again and again, beside an ingest that goes on."""
    rows, days = 600, 2
    bodies = list(batches(values[: days * 86_400], rows, Device("any", 1).schema))
    count = max(2, round(million * 1e6 / (len(bodies) * rows * CHANNELS)))
    devices = [Device(f"valve-{n}", n + 1) for n in range(count)]
    busy = Device("busy", 10_000)
    cloud = Cloud(folder, [*devices, busy])
    say(f"a journal of {count} devices, {days} days each ...")
    for device in devices:
        for message in device.opening():
            cloud.take(device.name, message)
    for batch in bodies:
        for device in devices:
            cloud.take(device.name, device.frame(batch.body, batch.time_ns))
    cloud.ingest.commit()
    stop, done = threading.Event(), [0]
    backlog = [busy.frame(batch.body, batch.time_ns) for batch in bodies * 40]

    def go_on() -> None:
        for message in busy.opening():
            cloud.take(busy.name, message)
        for message in backlog:
            if stop.is_set():
                break
            cloud.take(busy.name, message)
            done[0] += 1
        cloud.ingest.commit()

    rng = np.random.default_rng(3)
    sys.setswitchinterval(0.0005)  # as the service does
    thread = threading.Thread(target=go_on)
    thread.start()
    taken: list[float] = []
    over_http: dict[str, list[float]] = {"": [], "_one_channel": []}
    steps = 0
    with closing(JournalReader(folder)) as reader, _served(folder) as ask:
        began = time.monotonic()
        for _ in range(asks):
            device = devices[int(rng.integers(count))]
            start = START_NS + int(rng.integers(0, 86_400)) * SECOND_NS
            asked = time.perf_counter()
            answer = reader.rollup(device.name, "valve", start, start + DAY_NS, 60 * SECOND_NS)
            taken.append((time.perf_counter() - asked) * 1e3)
            steps = max(steps, len(answer.time_ns))
            url = f"/api/v1/readings?device={device.name}&stream=valve&from={start}&to={start + DAY_NS}&step=1m"
            over_http[""].append(ask(url))
            over_http["_one_channel"].append(ask(f"{url}&channel={quote(answer.schema.channels[0].name)}"))
            time.sleep(0.01)
        beside = done[0] * rows * CHANNELS / (time.monotonic() - began)
        alive = thread.is_alive()
    stop.set()
    thread.join()
    total = (len(bodies) * count) * rows * CHANNELS
    size = (folder / "journal.db").stat().st_size
    cloud.journal.close()
    return {
        "query_journal_values": total,
        "query_journal_bytes_per_value": round(size / total, 3),
        "query_steps": steps,
        "query_asks": asks,
        "query_p50_ms": round(float(np.percentile(taken, 50)), 2),
        "query_p95_ms": round(float(np.percentile(taken, 95)), 2),
        "query_max_ms": round(max(taken), 2),
        **{f"query_http{what}_p95_ms": round(float(np.percentile(some, 95)), 2) for what, some in over_http.items()},
        "query_ingest_beside_values_per_s": round(beside),
        "query_ingest_went_on": alive,
    }


@contextmanager
def _served(folder: Path) -> Iterator[Callable[[str], float]]:
    """The service's HTTP over a journal, in a thread as in the service; the milliseconds until an answer is whole."""
    app = create_app(
        open_reader=lambda: JournalReader(folder), live=Live(), token=None, metrics=lambda: b"", health=dict
    )
    server = uvicorn.Server(uvicorn.Config(app, port=_free_port(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection = http.client.HTTPConnection("127.0.0.1", server.config.port)

    def ask(path: str) -> float:
        asked = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return (time.perf_counter() - asked) * 1e3

    try:
        yield ask
    finally:
        connection.close()
        server.should_exit = True
        thread.join()


# ---------------------------------------------------------------- all of it


def package_version(package: str) -> str:
    """The version of a Debian package: the program itself does not know it."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return done.stdout or "of unknown version"


def compare(folder: Path, values: NDArray[np.float64], rows: int, *, victoria_binary: str | None) -> dict[str, Any]:
    """One size of frames: ours, the peers, the limit; values per CPU second."""
    schema, device_count = Device("any", 1).schema, 8
    frames = list(batches(values, rows, schema))
    total = len(frames) * rows * CHANNELS
    size = max(1, 48_000 // rows)  # as many rows in a peer's group as ours commits
    result: dict[str, Any] = {}

    def note(name: str, cpu: float, count: int) -> None:
        result[f"rows_{rows}_{name}_values_per_cpu_s"] = round(count / cpu)
        say(f"{rows:4} rows a frame  {name:28} {count / cpu / 1e6:8.3f} M values/CPU s")

    folder = folder / str(rows)
    folder.mkdir()
    cpu, wall, disk = ours(folder, frames, device_count)
    note("trueline", cpu, total * device_count)
    result[f"rows_{rows}_trueline_values_per_wall_s"] = round(total * device_count / wall)
    result[f"rows_{rows}_trueline_disk_bytes_per_value"] = round(disk / total / device_count, 3)
    result[f"rows_{rows}_trueline_us_per_frame"] = round(cpu / len(frames) / device_count * 1e6, 1)
    note("sqlite_rows", sqlite_rows(folder, frames, size), total)
    note("duckdb_from_arrow", duckdb_arrow(folder, frames, size), total)
    if victoria_binary is not None:
        server, both = victoria(folder, frames, size, victoria_binary)
        note("victoria_metrics_server", server, total)
        note("victoria_metrics_with_sender", both, total)
    note("limit_arrow_append_fsync", arrow_append(folder, frames, size), total)
    return result


def main() -> int:
    """Run it all."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, metavar="FOLDER", help="CSV files of recorded runs; else a seeded walk")
    arguments.add_argument("--million", type=float, default=50.0, help="values in the journal that is asked (50)")
    arguments.add_argument("--asks", type=int, default=300, help="how often (300)")
    arguments.add_argument("--quick", action="store_true", help="a tenth of everything; the bounds still hold")
    arguments.add_argument("--folder", type=Path, help="where the databases go; a temporary folder by default")
    options = arguments.parse_args()
    scale = 10 if options.quick else 1
    values, source = recorded(options.data, 2 * 86_400)
    binary = shutil.which("victoria-metrics")
    result: dict[str, Any] = {"values": source, "channels": CHANNELS}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ingest-") as name:
        folder = Path(name)
        for rows in BOUNDS:
            count = (120_000 if rows == 600 else 24_000) // scale
            result |= compare(folder, values[:count], rows, victoria_binary=binary)
        (folder / "query").mkdir()
        result |= query(folder / "query", values, options.million / scale, options.asks // scale)
    import duckdb  # noqa: PLC0415 - a peer's version
    import pyarrow as pa  # noqa: PLC0415

    result |= {
        "sqlite": f"{apsw.sqlite_lib_version()} (apsw), WAL, synchronous=FULL",
        "duckdb": f"{duckdb.__version__}, threads=1, a transaction a group",
        "victoria_metrics": f"{package_version('victoria-metrics')}, its defaults" if binary else "not installed",
        "pyarrow": pa.__version__,
        "group": "ours: 100 ms or 2000 messages; peers and limit: 48,000 rows",
    }
    misses = [
        f"{rows} rows a frame: {result[f'rows_{rows}_trueline_values_per_cpu_s']} values/CPU s, {bound:g} asked"
        for rows, bound in BOUNDS.items()
        if result[f"rows_{rows}_trueline_values_per_cpu_s"] < bound
    ]
    if result["query_p95_ms"] >= QUERY_BOUND_MS:
        misses.append(f"a day's query: p95 {result['query_p95_ms']} ms, below {QUERY_BOUND_MS} asked")
    return finish(result, misses, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())

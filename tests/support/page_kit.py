"""A store in memory, and the application served on a free port: what the tests of the API and the page stand on."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import uvicorn

from trueline_cloud.api.app import create_app
from trueline_cloud.storage.store import DeviceInfo, LaneLedger, NeverHeardOfError, Rollup, worst_verdict
from trueline_model.event import Event, event_readings, is_event
from trueline_wire.readings import Channel, Flag, Readings, Schema, worst_flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from trueline_cloud.live import Live
    from trueline_cloud.storage.store import Reader

MINUTE_NS = 60 * 10**9
PUMP = Schema(
    device="pump-7",
    stream="valve",
    channels=(Channel(name="Pressure", unit="bar", resolution=0.001), Channel(name="Temperature", unit="Cel")),
)


def sampled(schema: Schema, start_ns: int, n: int, *, period_ns: int = 10**9, seed: int = 0) -> Readings:
    """A smooth signal with noise of its stated uncertainty: n rows, all passed."""
    rng = np.random.default_rng(seed)
    time_ns = start_ns + np.arange(n, dtype=np.int64) * period_ns
    phase = (time_ns / 1e9)[:, None] / 120 + np.arange(len(schema.channels))
    u = 0.05
    readings = Readings.raw(schema, time_ns, np.sin(phase) + rng.normal(0, u, (n, len(schema.channels))), u)
    return readings.passed(np.ones(readings.value.shape, bool))


def lane(device: str, name: str = "data", **counts: Any) -> LaneLedger:
    """A ledger line that adds up."""
    reasons: dict[str, int] = counts.pop("missing_by_reason", {})
    stored, pending, orphaned = (counts.pop(key, 0) for key in ("rows_stored", "rows_pending", "rows_orphaned"))
    missing = sum(reasons.values())
    verdict = "missing" if missing else "orphaned" if orphaned else "pending" if pending else "complete"
    return LaneLedger(
        device=device,
        lane=name,
        verdict=verdict,
        as_of_ns=counts.pop("as_of_ns", time.time_ns()),
        rows_head=stored + pending + missing,
        rows_stored=stored,
        rows_thinned=0,
        rows_quarantined=0,
        rows_missing=missing,
        rows_pending=pending,
        rows_orphaned=orphaned,
        missing_by_reason=reasons,
        lost_before_spool=counts.pop("lost_before_spool", {}),
        alarms=counts.pop("alarms", {}),
        frames=stored // 100,
        epochs=1,
        bytes=stored * 4,
        values=stored * 2,
    )


def told(
    at_ns: int,
    *,
    what: Literal["sensor fault", "process anomaly"] = "sensor fault",
    channel: str = "Pressure",
    kind: str = "bias_step",
    phase: Literal["begun", "reviewed", "ended"] = "begun",
    device: str = "pump-7",
    before: int = 10,
    rows: int = 20,
    confidence: float = 0.9,
    name_us: int | None = None,
) -> Readings:
    """What a detector `watch` of the stream `valve` tells of an event: rows a second apart, `before` of them before."""
    schema = replace(PUMP, device=device)
    window = sampled(schema, at_ns - before * 10**9, rows)
    strange = np.arange(rows) >= before
    share = np.where(np.arange(2) == [each.name for each in schema.channels].index(channel), 0.75, 0.25)
    event = Event(
        detector="watch",
        begun_us=at_ns // 1000 if name_us is None else name_us,
        phase=phase,
        window=window,
        score=np.where(strange, 40.0, 1.0),
        p=np.where(strange, 1e-4, 0.5),
        share=np.tile(share, (rows, 1)),
        what=what,
        channel=channel,
        kind=kind if what == "sensor fault" else "",
        confidence=confidence,
        model=3,
    )
    return event_readings(event)


@dataclass
class FakeStore:
    """Readings and ledgers in memory. Writing and reading may be done in different threads."""

    batches: dict[tuple[str, str], list[Readings]] = field(default_factory=dict)
    lanes: dict[tuple[str, str], LaneLedger] = field(default_factory=dict)
    online: dict[str, bool | None] = field(default_factory=dict)
    heard_ns: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    closed: int = 0

    def put(self, readings: Readings) -> None:
        """Store a batch, and account for it."""
        schema = readings.schema
        self.batches.setdefault((schema.device, schema.stream), []).append(readings)
        name = "event" if is_event(schema) else "data"
        before = self.lanes.get((schema.device, name))
        stored = len(readings) + (before.rows_stored if before else 0)
        self.account(lane(schema.device, name, rows_stored=stored))

    def account(self, ledger: LaneLedger, *, online: bool | None = True) -> None:
        """Set a lane's ledger; the device was heard as of then."""
        self.lanes[ledger.device, ledger.lane] = ledger
        self.heard_ns[ledger.device] = ledger.as_of_ns
        self.online.setdefault(ledger.device, online)

    def open_reader(self) -> Reader:
        """A reader for one thread."""
        self.opened += 1
        return FakeReader(self)


class FakeReader:
    """`store.Reader` over a `FakeStore`, by the textbook: a loop over steps."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def devices(self) -> list[DeviceInfo]:
        return [
            DeviceInfo(
                device=device,
                last_heard_ns=heard_ns,
                online=self._store.online[device],
                streams=sorted(stream for of, stream in self._store.batches if of == device),
                verdict=worst_verdict([lane.verdict for (of, _), lane in self._store.lanes.items() if of == device]),
            )
            for device, heard_ns in sorted(self._store.heard_ns.items())
        ]

    def streams(self, device: str) -> list[Schema]:
        if device not in self._store.heard_ns:
            raise NeverHeardOfError(device)
        return [batches[-1].schema for (of, _), batches in sorted(self._store.batches.items()) if of == device]

    def span(self, device: str, stream: str) -> tuple[int, int] | None:
        rows = self._all(device, stream).time_ns
        return int(rows.min()), int(rows.max())

    def ledger(self, device: str | None = None) -> list[LaneLedger]:
        if device is not None and device not in self._store.heard_ns:
            raise NeverHeardOfError(device)
        return [ledger for (of, _), ledger in sorted(self._store.lanes.items()) if device in {None, of}]

    def readings(self, device: str, stream: str, start_ns: int, end_ns: int) -> Iterator[Readings]:
        if (device, stream) not in self._store.batches:
            raise NeverHeardOfError(f"{device}/{stream}")
        for batch in self._store.batches[device, stream]:
            inside = np.flatnonzero((batch.time_ns >= start_ns) & (batch.time_ns < end_ns))
            if len(inside):
                yield batch[inside[0] : inside[-1] + 1]

    def rollup(self, device: str, stream: str, start_ns: int, end_ns: int, step_ns: int) -> Rollup:
        rows = self._all(device, stream)
        if step_ns % MINUTE_NS == 0:
            start_ns, end_ns = start_ns // MINUTE_NS * MINUTE_NS, -(-end_ns // MINUTE_NS) * MINUTE_NS
        inside = (rows.time_ns >= start_ns) & (rows.time_ns < end_ns)
        steps = np.unique(rows.time_ns[inside] // step_ns)
        shape = (len(steps), len(rows.schema.channels))
        count, flag = np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
        mean, low, high, u = (np.full(shape, np.nan) for _ in range(4))
        counts = np.isfinite(rows.value) & (rows.flag != Flag.FAIL) & (rows.flag != Flag.MISSING)
        for i, step in enumerate(steps):
            here = inside & (rows.time_ns // step_ns == step)
            flag[i] = worst_flag(rows.flag[here], axis=0)
            for j in range(shape[1]):
                behind = here & counts[:, j]
                count[i, j] = behind.sum()
                if behind.any():
                    values = rows.value[behind, j]
                    mean[i, j], low[i, j], high[i, j] = values.mean(), values.min(), values.max()
                    u[i, j] = np.sqrt(np.mean(rows.u[behind, j].astype(float) ** 2))
        return Rollup(
            time_ns=steps * step_ns,
            count=count,
            mean=mean,
            minimum=low,
            maximum=high,
            u=u.astype(np.float32),
            flag=flag,
            schema=rows.schema,
        )

    def close(self) -> None:
        self._store.closed += 1

    def _all(self, device: str, stream: str) -> Readings:
        if (device, stream) not in self._store.batches:
            raise NeverHeardOfError(f"{device}/{stream}")
        return Readings.concatenate(self._store.batches[device, stream])


def made_app(store: FakeStore, live: Live, *, token: str | None = None, **changes: Any) -> FastAPI:
    """The application over a fake store."""
    arguments: dict[str, Any] = {"metrics": lambda: b"# TYPE up gauge\nup 1.0\n", "health": dict, **changes}
    return create_app(open_reader=store.open_reader, live=live, token=token, **arguments)


@contextmanager
def served(app: FastAPI, live: Live, port: int = 0) -> Iterator[int]:
    """Serve the application on loopback, in a thread of its own. Yields the port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        live.close()
        server.should_exit = True
        thread.join()

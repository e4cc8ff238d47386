from __future__ import annotations

import asyncio
import json
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_kit import PUMP, FakeStore, lane, made_app, sampled, served

from trueline_cloud.api.answers import condense
from trueline_cloud.api.fleet import Fleet
from trueline_cloud.api.problems import ProblemError
from trueline_cloud.api.query import POINTS_MAX, parse_range, parse_time
from trueline_cloud.api.readers import Readers
from trueline_cloud.live import Live
from trueline_wire.readings import Flag, Readings, worst_flag

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR_NS = 3600 * 10**9
START_NS = 1_800_000_000 * 10**9


@pytest.fixture
def store() -> FakeStore:
    store = FakeStore()
    store.put(sampled(PUMP, START_NS, 600))
    store.account(lane("kiln-1", rows_stored=10, missing_by_reason={"dropped": 4}))
    return store


@pytest.fixture
def client(store: FakeStore) -> Iterator[Client]:
    client = Client(store)
    yield client
    client.close()


class Client:
    """Asks the application, without a socket."""

    def __init__(self, store: FakeStore, **changes: Any) -> None:
        self._app = made_app(store, Live(), **changes)

    def get(self, path: str, method: str = "GET", **params: str | list[str]) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, params=params)

        return asyncio.run(ask())

    def readings(self, **params: str | list[str]) -> httpx.Response:
        begin, end = str(START_NS), str(START_NS + 600 * 10**9)
        return self.get(
            "/api/v1/readings", **({"device": "pump-7", "stream": "valve", "from": begin, "to": end} | params)
        )

    def close(self) -> None:
        async def end() -> None:
            async with self._app.router.lifespan_context(self._app):
                pass

        asyncio.run(end())


def test_readings_are_answered_in_steps(client: Client) -> None:
    """A range comes back in steps, each with count, mean, min, max, u and flag of every channel."""
    answer = client.readings(step="2m").json()
    assert answer["step_ns"] == 120 * 10**9
    assert answer["time_ns"] == [START_NS + i * 120 * 10**9 for i in range(5)]
    assert [series["channel"] for series in answer["series"]] == ["Pressure", "Temperature"]
    raw = sampled(PUMP, START_NS, 600)
    pressure = answer["series"][0]
    assert pressure["unit"] == "bar"
    assert pressure["count"] == [120] * 5
    assert pressure["mean"][1] == pytest.approx(raw.value[120:240, 0].mean())
    assert pressure["min"][1] == raw.value[120:240, 0].min()
    assert pressure["max"][1] == raw.value[120:240, 0].max()
    assert pressure["u"] == [0.05] * 5
    assert pressure["flag"] == [Flag.PASS] * 5


def test_a_channel_can_be_chosen(client: Client) -> None:
    """Only the named channels are answered, in the order asked for; an unknown one is named back."""
    answer = client.readings(points="5", channel=["Temperature", "Pressure"]).json()
    assert [series["channel"] for series in answer["series"]] == ["Temperature", "Pressure"]
    refused = client.readings(channel="Colour")
    assert refused.status_code == 404
    assert "Pressure, Temperature" in refused.json()["hint"]


def test_nothing_measured_is_null() -> None:
    """NaN and unknown uncertainty are null in JSON, never 0 and never a word."""
    store = FakeStore()
    nothing = Readings.raw(PUMP, [START_NS], [[math.nan, 1.0]])
    store.put(nothing.flagged(np.array([[True, False]]), Flag.MISSING, 2))
    client = Client(store)
    series = client.readings(step="60s").json()["series"]
    client.close()
    assert series[0] == {
        "channel": "Pressure",
        "unit": "bar",
        "count": [0],
        "flag": [9],
        **{key: [None] for key in ("mean", "min", "max", "u")},
    }
    assert series[1]["mean"] == [1.0]
    assert series[1]["u"] == [None]


@pytest.mark.parametrize(
    ("params", "status", "parameter"),
    [
        ({"from": "yesterday"}, 422, "from"),
        ({"to": "2026-13-01T00:00:00Z"}, 422, "to"),
        ({"to": "2026-12-01T00:00:00"}, 422, "to"),
        ({"from": str(2**64)}, 422, "from"),
        ({"from": str(START_NS + HOUR_NS)}, 422, "from"),
        ({"step": "soon"}, 422, "step"),
        ({"step": "0s"}, 422, "step"),
        ({"step": "1ms"}, 422, "step"),
        ({"step": "5s", "from": str(START_NS - 10 * HOUR_NS)}, 422, "step"),
        ({"step": "5s", "points": "5"}, 422, "step, points"),
        ({"points": "0"}, 422, "points"),
        ({"points": "10001"}, 422, "points"),
        ({"device": "no spaces"}, 422, "device"),
        ({"device": ""}, 422, "device"),
        ({"device": "pump-9"}, 404, "device, stream"),
        ({"stream": "door"}, 404, "device, stream"),
        ({"stream": ""}, 422, "stream"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_mend(
    client: Client, params: dict[str, str], status: int, parameter: str
) -> None:
    """A request that cannot be answered gets 4xx, the parameter's name and what to do instead."""
    answer = client.readings(**params)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "hint"}
    assert answer.json()["error"].startswith(f"{parameter}:")
    assert answer.json()["hint"]


def test_a_left_out_parameter_is_named(client: Client) -> None:
    """So does a request that leaves out what is needed."""
    answer = client.get("/api/v1/readings", device="pump-7")
    assert answer.status_code == 422
    assert answer.json()["error"] == "stream: field required"


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/api/v1/devices", "POST", 405)])
def test_every_refusal_is_json(client: Client, path: str, method: str, status: int) -> None:
    """Also what no path answers is refused as {error, hint}."""
    answer = client.get(path, method)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "hint"}


def test_a_store_that_breaks_is_500_without_its_secrets() -> None:
    """An error of the store is answered as JSON that gives nothing away."""

    def broken() -> None:
        raise OSError("/secret/path/journal.db")

    client = Client(FakeStore(), health=broken)
    answer = client.get("/healthz")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "hint"}
    assert "secret" not in answer.text


def test_devices_streams_and_ledger(client: Client) -> None:
    """Devices, their streams with units and reach, and their ledgers can be asked for."""
    devices = client.get("/api/v1/devices").json()
    assert [(info["device"], info["verdict"]) for info in devices["devices"]] == [
        ("kiln-1", "missing"),
        ("pump-7", "complete"),
    ]
    assert devices["now_ns"] >= devices["devices"][0]["last_heard_ns"]
    streams = client.get("/api/v1/devices/pump-7/streams").json()["streams"]
    assert streams[0]["stream"] == "valve"
    assert streams[0]["channels"][0]["unit"] == "bar"
    assert (streams[0]["first_ns"], streams[0]["last_ns"]) == (START_NS, START_NS + 599 * 10**9)
    ledger = client.get("/api/v1/ledger").json()
    assert ledger["verdict"] == "missing"
    assert [entry["device"] for entry in ledger["lanes"]] == ["kiln-1", "pump-7"]
    assert client.get("/api/v1/ledger", device="pump-7").json()["verdict"] == "complete"
    assert client.get("/api/v1/ledger", device="pump-9").status_code == 404
    assert client.get("/api/v1/devices/pump-9/streams").status_code == 404


@pytest.mark.parametrize(
    ("facts", "status", "word"),
    [
        ({}, 200, "well"),
        ({"ingest_alive": True, "last_commit_age_s": 9999.0, "broker_connected": True}, 200, "well"),
        ({"ingest_alive": True, "waiting_age_s": None, "broker_connected": None}, 200, "well"),
        ({"ingest_alive": False}, 503, "ingest"),
        ({"broker_connected": False}, 503, "broker"),
        ({"waiting_age_s": 31.0}, 503, "commit"),
    ],
)
def test_health_says_why(facts: dict[str, Any], status: int, word: str) -> None:
    """/healthz is 200 when all is well, else 503 with the reason; an idle fleet is well."""
    answer = Client(FakeStore(), health=lambda: facts).get("/healthz")
    assert answer.status_code == status
    assert word in answer.json()["reason"]


def test_metrics_are_prometheus_text(client: Client) -> None:
    """/metrics hands on the service's Prometheus text."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "up 1.0" in answer.text


def test_openapi_describes_every_path(client: Client) -> None:
    """/openapi.json describes each path, parameter and answer; no page there loads anything from elsewhere."""
    document = client.get("/openapi.json").json()
    assert {"/healthz", "/metrics", "/api/v1/devices", "/api/v1/devices/{device}/streams"} <= set(document["paths"])
    assert {"/api/v1/readings", "/api/v1/ledger", "/api/v1/live", "/api/v1/live/fleet"} <= set(document["paths"])
    readings = document["paths"]["/api/v1/readings"]["get"]
    assert {p["name"] for p in readings["parameters"]} == {
        "device",
        "stream",
        "channel",
        "from",
        "to",
        "step",
        "points",
    }
    assert "u" in json.dumps(readings["responses"]["200"]["content"])
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


def test_every_thread_has_its_own_reader_and_closes_it(store: FakeStore) -> None:
    """A reader belongs to one thread; all are closed at the end, and too many questions are turned away."""

    async def many() -> None:
        readers = Readers(store.open_reader)
        answers = await asyncio.gather(
            *(readers.ask(lambda reader: reader.devices()) for _ in range(100)), return_exceptions=True
        )
        readers.close()
        refused = [answer for answer in answers if isinstance(answer, ProblemError)]
        assert len(refused) == 36
        assert {answer.status for answer in refused} == {503}

    asyncio.run(many())
    assert 0 < store.opened <= 2
    assert store.closed == store.opened


# ------------------------------------------------------------ times and steps


@given(st.integers(-(2**62), 2**62))
def test_nanoseconds_are_exact(time_ns: int) -> None:
    """A time in nanoseconds is taken as it is, to the last digit."""
    assert parse_time("from", str(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-20T23:30:00.123456789Z", 1795217400123456789),
        ("2026-11-21T01:30:00+02:00", 1795217400000000000),
        ("1969-12-31T23:59:59.5z", -500000000),
    ],
)
def test_rfc_3339_is_exact(text: str, time_ns: int) -> None:
    """A time as RFC 3339 is exact to the nanosecond, with any offset."""
    assert parse_time("from", text) == time_ns


@given(st.integers(0, 2**60), st.integers(1, 2**60), st.integers(1, POINTS_MAX))
def test_points_bound_the_answer(start_ns: int, span_ns: int, points: int) -> None:
    """However long the range, the chosen step gives at most so many points, and reads frames for six hours at most."""
    asked = parse_range(str(start_ns), str(start_ns + span_ns), None, str(points), now_ns=0)
    steps = (asked.end_ns - 1) // asked.step_ns - asked.start_ns // asked.step_ns + 1
    assert steps <= points + 1
    assert asked.step_ns % (60 * 10**9) == 0 or span_ns <= 6 * HOUR_NS


# ------------------------------------------------------------ what is pushed


@st.composite
def batches(draw: st.DrawFn) -> Readings:
    """Readings with every flag, NaN and unknown uncertainties."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    value, u = rng.normal(size=(n, 2)), rng.uniform(0.01, 1, (n, 2)).astype(np.float32)
    value[rng.random((n, 2)) < 0.2] = np.nan
    u[rng.random((n, 2)) < 0.2] = np.nan
    flag = rng.choice(np.array([1, 2, 3, 4, 9], np.uint8), (n, 2))
    return Readings(PUMP, np.arange(n, dtype=np.int64), value, u, flag, np.zeros((n, 2), np.uint32))


@given(batches(), st.integers(1, 50))
def test_condensing_agrees_with_a_loop(batch: Readings, rows_max: int) -> None:
    """A long batch is pushed in few steps that say what NumPy says of the rows behind each."""
    steps = condense(batch, rows_max)
    assert len(steps.time_ns) <= rows_max
    edges = [*np.searchsorted(batch.time_ns, steps.time_ns).tolist(), len(batch)]
    for i, (first, end) in enumerate(pairwise(edges)):
        assert (steps.flag[i] == worst_flag(batch.flag[first:end], axis=0)).all()
        for j in range(2):
            value, u, flag = batch.value[first:end, j], batch.u[first:end, j], batch.flag[first:end, j]
            counts = np.isfinite(value) & ~np.isin(flag, [4, 9])
            assert steps.count[i, j] == counts.sum()
            expected = (
                [value[counts].mean(), value[counts].min(), value[counts].max()] if counts.any() else [np.nan] * 3
            )
            assert [steps.mean[i, j], steps.minimum[i, j], steps.maximum[i, j]] == pytest.approx(expected, nan_ok=True)
            stated = u[counts & np.isfinite(u)].astype(float)
            assert steps.u[i, j] == pytest.approx(
                math.sqrt(np.mean(stated**2)) if len(stated) else math.nan, nan_ok=True, rel=1e-6
            )


class Events:
    """Reads server-sent events of a response."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self, *names: str) -> dict[str, Any]:
        """The next event of one of these names; beats are passed over."""
        name = ""
        for line in self._lines:
            field, _, text = line.partition(": ")
            if field == "event":
                name = text
            elif field == "data" and name in names:
                data: dict[str, Any] = json.loads(text)
                return data
        raise EOFError


def test_a_reading_is_pushed() -> None:
    """What is committed is pushed to those who listen to its stream, in the columns of the readings."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, START_NS, 5))
    with served(made_app(store, live, stale_after_s=7.0), live) as port, httpx.Client(timeout=20) as client:
        params = {"device": "pump-7", "stream": "valve", "channel": "Temperature"}
        with client.stream("GET", f"http://127.0.0.1:{port}/api/v1/live", params=params) as response:
            events = Events(response)
            assert events.next("hello")["stale_after_s"] == 7.0
            fresh = sampled(PUMP, START_NS + 10**10, 2)
            live.publish("pump-7", fresh)
            pushed = events.next("readings")
        assert client.get(f"http://127.0.0.1:{port}/api/v1/live", params=params | {"stream": "x"}).status_code == 404
    assert pushed["time_ns"] == fresh.time_ns.tolist()
    assert [series["channel"] for series in pushed["series"]] == ["Temperature"]
    assert pushed["series"][0]["mean"] == fresh.value[:, 1].tolist()
    assert pushed["dropped"] == 0


def test_a_listener_that_goes_is_signed_off() -> None:
    """When a client goes away, nothing is kept for it; when the service stops, open responses end."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, START_NS, 5))
    with served(made_app(store, live), live) as port, httpx.Client(timeout=20) as client:
        address = f"http://127.0.0.1:{port}/api/v1/live?device=pump-7&stream=valve"
        with client.stream("GET", address) as response:
            events = Events(response)
            events.next("hello")
            assert len(live) == 1
        while len(live):
            time.sleep(0.01)
        with client.stream("GET", address) as response:
            events = Events(response)
            events.next("hello")
            live.close()
            with pytest.raises(EOFError):
                events.next("readings")


def test_the_fleet_is_pushed() -> None:
    """A listener gets the whole fleet, then what changed: a new device, and a lane that lost rows."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, START_NS, 5))
    with (
        served(made_app(store, live), live) as port,
        httpx.Client(timeout=20) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/api/v1/live/fleet") as response,
    ):
        events = Events(response)
        first = events.next("fleet")
        assert first["all"]
        assert [device["info"]["device"] for device in first["devices"]] == ["pump-7"]
        store.account(lane("kiln-1", rows_stored=3, missing_by_reason={"corrupt": 2}))
        live.touch("kiln-1")
        then = events.next("fleet")
    assert not then["all"]
    assert [device["lanes"][0]["missing_by_reason"] for device in then["devices"]] == [{"corrupt": 2}]


async def test_a_slow_watcher_of_the_fleet_gets_the_newest_state_only() -> None:
    """However many rounds a listener misses, it holds one state a device, and hears of those that are gone."""
    store, live = FakeStore(), Live()
    store.account(lane("kiln-1", rows_stored=1))
    readers = Readers(store.open_reader)
    fleet = Fleet(readers, live)
    listener = await fleet.join()
    listener.tell({"kiln-1": b"1"})
    listener.tell({"kiln-1": b"2", "pump-7": None})
    assert listener.taken() == {"kiln-1": b"2", "pump-7": None}
    assert listener.taken() == {}
    fleet.leave(listener)
    await fleet.close()
    readers.close()


async def test_a_store_that_breaks_ends_the_line() -> None:
    """When the store cannot be read any more the line ends with the error; it never goes on with old news."""
    store, live = FakeStore(), Live()
    store.account(lane("kiln-1", rows_stored=1))
    readers = Readers(store.open_reader)
    fleet = Fleet(readers, live)
    listener = await fleet.join()
    events = fleet.events(listener, silent_after_s=1.0)
    assert b"hello" in await anext(events)
    assert b"kiln-1" in await anext(events)
    store.heard_ns["unknown-1"] = 0  # the fake has no presence of it: its next answer is a KeyError
    live.touch("unknown-1")
    with pytest.raises(KeyError):
        _ = [event async for event in events]
    fleet.leave(listener)
    await fleet.close()
    readers.close()

"""Events as the API answers them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from page_kit import PUMP, FakeStore, made_app, sampled, told

from trueline_cloud.live import Live
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Callable


START_NS = 1_800_000_000 * 10**9
S = 10**9
RANGE = {"from": str(START_NS - 3600 * S), "to": str(START_NS + 7200 * S)}


@pytest.fixture
def store() -> FakeStore:
    """A pump with a sensor fault, and an hour later an anomaly that was told twice; another pump's; a healthy kiln."""
    store = FakeStore()
    store.put(sampled(PUMP, START_NS - 600 * S, 600))
    store.put(told(START_NS))
    later = START_NS + 3600 * S
    store.put(told(later, what="sensor fault", confidence=0.5))
    store.put(told(later, what="process anomaly", channel="Temperature", phase="reviewed", rows=40, confidence=0.97))
    store.put(told(START_NS + 60 * S, device="pump-8", what="process anomaly"))
    store.put(sampled(replace(PUMP, device="kiln-1"), START_NS, 10))
    return store


@pytest.fixture
def get(store: FakeStore) -> Callable[..., httpx.Response]:
    """Asks the application, without a socket."""
    app = made_app(store, Live())

    def ask(path: str = "/api/v1/events", **params: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
            async with app.router.lifespan_context(app), client:
                return await client.get(path, params=params)

        return asyncio.run(asked())

    return ask


def test_events_are_answered_newest_first_with_the_last_word(get: Callable[..., httpx.Response]) -> None:
    """Each event stands there once, of all devices, with what was said of it last and which channels made its score."""
    answer = get(**RANGE).json()
    found = [(one["device"], one["what"], one["channel"], one["kind"], one["phase"]) for one in answer["events"]]
    assert found == [
        ("pump-7", "process anomaly", "Temperature", "", "reviewed"),
        ("pump-8", "process anomaly", "Pressure", "", "begun"),
        ("pump-7", "sensor fault", "Pressure", "bias_step", "begun"),
    ]
    assert answer["more"] is False
    first = answer["events"][2]
    assert first["begun_us"] == START_NS // 1000
    assert (first["first_ns"], first["last_ns"]) == (START_NS - 10 * S, START_NS + 9 * S)
    assert (first["stream"], first["detector"], first["rows"], first["model"]) == ("valve", "watch", 20, 3)
    assert (first["confidence"], first["p"], first["score"]) == (0.9, 1e-4, 40.0)
    assert first["shares"] == [{"channel": "Pressure", "share": 0.75}, {"channel": "Temperature", "share": 0.25}]


def test_a_range_a_device_and_a_limit_choose(get: Callable[..., httpx.Response]) -> None:
    """`from` is included and `to` is not; a limit keeps the newest and says that there were more."""
    begun = [one["begun_us"] for one in get(**(RANGE | {"to": str(START_NS + 3600 * S)})).json()["events"]]
    assert begun == [(START_NS + 60 * S) // 1000, START_NS // 1000]
    assert len(get(**(RANGE | {"from": str(START_NS + 3600 * S)})).json()["events"]) == 1
    assert [one["device"] for one in get(**RANGE, device="pump-8").json()["events"]] == ["pump-8"]
    assert get(**RANGE, device="kiln-1").json()["events"] == []
    some = get(**RANGE, limit="1").json()
    assert (len(some["events"]), some["more"]) == (1, True)


def test_the_window_holds_the_rows_that_raised_the_event(get: Callable[..., httpx.Response]) -> None:
    """Value, u, flag and share of each input, from before it began until after, each row once."""
    begun = str((START_NS + 3600 * S) // 1000)
    path = "/api/v1/events/window"
    window = get(path, device="pump-7", stream="valve", detector="watch", begun_us=begun).json()
    assert window["event"]["what"] == "process anomaly"
    assert window["time_ns"] == [START_NS + (3590 + i) * S for i in range(40)]
    assert [one["channel"] for one in window["series"]] == ["Pressure", "Temperature"]
    raw = sampled(PUMP, START_NS + 3590 * S, 40)
    assert window["series"][0]["value"] == raw.value[:, 0].tolist()
    assert window["series"][0]["u"] == [0.05] * 40
    assert window["series"][1]["share"][-1] == 0.75
    assert window["score"][9:11] == [1.0, 40.0]


@pytest.mark.parametrize(
    ("path", "params", "status", "word"),
    [
        ("", {"limit": "0"}, 422, "limit"),
        ("", {"limit": "100000"}, 422, "limit"),
        ("", {"from": "yesterday"}, 422, "from"),
        ("", {"from": str(START_NS), "to": str(START_NS)}, 422, "from"),
        ("", {"device": "no spaces"}, 422, "device"),
        ("", {"device": "pump-9"}, 404, "device"),
        ("/window", {"begun_us": "soon"}, 422, "begun_us"),
        ("/window", {"begun_us": "9" * 16}, 422, "begun_us"),
        ("/window", {"begun_us": "7"}, 404, "begun_us"),
        ("/window", {"detector": "other"}, 404, "detector"),
        ("/window", {"device": "pump-9"}, 404, "device"),
    ],
)
def test_a_mistake_is_named(
    get: Callable[..., httpx.Response], path: str, params: dict[str, str], status: int, word: str
) -> None:
    """Every refusal names the parameter, and says what to do."""
    asked: dict[str, str] = (
        {"device": "pump-7", "stream": "valve", "detector": "watch", "begun_us": "1"} if path else {}
    )
    refused = get("/api/v1/events" + path, **(asked | params))
    assert refused.status_code == status
    assert word in refused.json()["error"]
    assert refused.json()["hint"]


def test_what_tells_of_no_event_keeps_no_other_from_being_read(
    store: FakeStore, get: Callable[..., httpx.Response]
) -> None:
    """A device may send anything on a stream of events: what makes no sense is left out, and the others are read."""
    good = told(START_NS + 100 * S)
    value = good.value.copy()
    value[:, -5] = 77.0  # a verdict nobody has heard of
    store.put(Readings(good.schema, good.time_ns, value, good.u, good.flag, good.reason))
    store.put(told(START_NS + 200 * S, what="process anomaly"))
    begun = [one["begun_us"] for one in get(**RANGE, device="pump-7").json()["events"]]
    assert (START_NS + 200 * S) // 1000 in begun
    assert (START_NS + 100 * S) // 1000 not in begun
    assert len(begun) == 3


def test_streams_of_events_say_so(get: Callable[..., httpx.Response]) -> None:
    """A page can tell streams of readings from those of events."""
    streams: list[dict[str, Any]] = get("/api/v1/devices/pump-7/streams").json()["streams"]
    assert [(one["stream"], one["is_events"]) for one in streams] == [("valve", False), ("valve.watch", True)]

"""The HTTP side of the service: every path, what it asks and what it answers.

    /healthz                                 200 or 503, and why
    /metrics                                 Prometheus text
    /api/v1/devices                          all devices
    /api/v1/devices/{device}/streams         streams, channels, units
    /api/v1/readings                         a range, in steps
    /api/v1/events, /api/v1/events/window    what detectors on devices raised, and the rows that raised it
    /api/v1/ledger                           is anything missing?
    /api/v1/live, /api/v1/live/fleet         the same, pushed (server-sent events)
    /openapi.json                            all this, for machines
    / and /assets/...                        the page

Promises: every answer is bounded, every refusal is JSON with `error` and `hint`, and nothing here writes. Refuses to
know how readings are stored and how they came.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from trueline_cloud.api import answers, query
from trueline_cloud.api.documents import documented
from trueline_cloud.api.events import EventStream, reading_events
from trueline_cloud.api.fleet import Fleet
from trueline_cloud.api.guard import Guard
from trueline_cloud.api.health import Health, verdict_of
from trueline_cloud.api.problems import Answer, ProblemError, problem_answer
from trueline_cloud.api.readers import Readers
from trueline_cloud.dashboard.assets import ASSET_NAMES, CHART_LIBRARY, LOGIN_PAGE, PAGE, Assets
from trueline_cloud.event_log import EventWindow, happening, newest_events, window_of
from trueline_cloud.live import TooManyListenersError
from trueline_cloud.storage.store import NeverHeardOfError, worst_verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trueline_cloud.live import Live
    from trueline_cloud.storage.store import Reader

__all__ = ["create_app"]

SILENT_AFTER_S: Final = 150.0
"""A device not heard for so long is silent: it speaks at least every 60 s, and may lose one status on the way, s."""

STALE_AFTER_S: Final = 30.0
"""A stream's last value is stale when so long no reading came: three frame intervals of an agent's default, s."""

_DAY_NS: Final = 86_400 * 10**9
_AHEAD_NS: Final = 3600 * 10**9
"""A device's clock may run ahead of ours: what it has just seen is not left out for that."""

_Device = Annotated[str, Query(description="Device id.")]
_Stream = Annotated[str, Query(description="Stream of the device.")]
_Channels = Annotated[list[str] | None, Query(description="A channel of the stream; may be repeated. All by default.")]
_From = Annotated[
    str | None,
    Query(alias="from", description="First time, RFC 3339 or ns since 1970. An hour before `to` by default."),
]
_Since = Annotated[
    str | None, Query(alias="from", description="First time, RFC 3339 or ns since 1970. A day before `to` by default.")
]
_To = Annotated[str | None, Query(alias="to", description="First time not included, likewise. Now by default.")]
_Step = Annotated[str | None, Query(description="Length of a step: 500ms, 10s, 1m, 6h, 1d.")]
_Points = Annotated[
    str | None,
    Query(description=f"At most so many steps, 1 to {query.POINTS_MAX}; the step is chosen. 720 by default."),
]


def create_app(
    *,
    open_reader: Callable[[], Reader],
    live: Live,
    token: str | None,
    metrics: Callable[[], bytes],
    health: Callable[[], dict[str, Any]],
    silent_after_s: float = SILENT_AFTER_S,
    stale_after_s: float = STALE_AFTER_S,
) -> FastAPI:
    """Put the application together.

    Call `live.close()` when the service is told to stop: it ends the pushed responses, which would hold it up.

    Args:
        open_reader: opens a reader of the store, in the thread that will use it.
        live: where committed readings are published.
        token: what a client must know; None only where nobody but this machine can reach us.
        metrics: Prometheus text.
        health: see `trueline_cloud.api.health`.
        silent_after_s: a device not heard for so long is shown as silent.
        stale_after_s: a stream without a reading for so long is shown as stale.
    """
    readers = Readers(open_reader)
    fleet = Fleet(readers, live)
    assets = Assets()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        live.close()
        await fleet.close()
        readers.close()

    app = FastAPI(
        title="Trueline",
        version="1",
        description="Readings with their standard uncertainty, and a ledger that says what is missing.",
        docs_url=None,  # both would load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    login_page = assets.get(LOGIN_PAGE).body.decode()
    app.add_middleware(Guard, token=token, login_page=login_page)
    _add_problem_handlers(app)
    _add_service_paths(app, metrics, health)
    _add_store_paths(app, readers)
    _add_event_paths(app, readers)
    _add_live_paths(app, readers, live, fleet, silent_after_s=silent_after_s, stale_after_s=stale_after_s)
    _add_page_paths(app, assets, "private" if token else "public")
    return app


def _add_problem_handlers(app: FastAPI) -> None:
    def told(_: Request, error: Exception) -> Response:
        problem = error if isinstance(error, ProblemError) else ProblemError(500, "", "")
        headers = {"Retry-After": "1"} if problem.status == 503 else None  # noqa: PLR2004 - service unavailable
        return problem_answer(problem.status, problem.error, problem.hint, headers)

    def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        return problem_answer(status, headers=headers)

    def invalid(_: Request, error: Exception) -> Response:
        first: dict[str, Any] = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        name = str(first.get("loc", ["?"])[-1])
        hint = "see /openapi.json for the parameters of this path"
        return problem_answer(422, f"{name}: {str(first.get('msg', 'invalid')).lower()}", hint)

    def crowded(_: Request, error: Exception) -> Response:
        return problem_answer(503, str(error), "close a page that is not looked at", {"Retry-After": "5"})

    app.add_exception_handler(ProblemError, told)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(TooManyListenersError, crowded)
    app.add_exception_handler(Exception, told)


def _add_service_paths(app: FastAPI, metrics: Callable[[], bytes], health: Callable[[], dict[str, Any]]) -> None:
    @app.get("/healthz", **documented(Health, "Is the service well? 503 when not, with the reason."))
    async def healthz() -> Response:
        verdict = verdict_of(health())
        return Answer(verdict, 200 if verdict.ok else 503, {"Cache-Control": "no-store"})

    @app.get("/metrics", response_class=Response, summary="Prometheus text.")
    async def prometheus() -> Response:
        text = await asyncio.to_thread(metrics)
        return Response(text, headers={"Cache-Control": "no-store"}, media_type="text/plain; version=0.0.4")


def _add_store_paths(app: FastAPI, readers: Readers) -> None:
    @app.get("/api/v1/devices", **documented(answers.Devices, "All devices."))
    async def devices() -> Response:
        found = await readers.ask(lambda reader: reader.devices())
        return _fresh(answers.Devices(now_ns=time.time_ns(), devices=found))

    @app.get("/api/v1/devices/{device}/streams", **documented(answers.Streams, "The streams of a device."))
    async def streams(device: str) -> Response:
        name = query.parse_device(device)

        def question(reader: Reader) -> answers.Streams:
            schemas = _known(lambda: reader.streams(name), f"device: {name!r} has never been heard of")
            found = [answers.stream_answer(schema, reader.span(name, schema.stream)) for schema in schemas]
            return answers.Streams(device=name, streams=found)

        return _fresh(await readers.ask(question))

    @app.get("/api/v1/readings", **documented(answers.ReadingsAnswer, "A stream over a range of time, in steps."))
    async def readings(
        device: _Device,
        stream: _Stream,
        channel: _Channels = None,
        start: _From = None,
        end: _To = None,
        step: _Step = None,
        points: _Points = None,
    ) -> Response:
        name, of = query.parse_device(device), query.parse_stream(stream)
        asked = query.parse_range(start, end, step, points, now_ns=time.time_ns())

        def question(reader: Reader) -> bytes:
            # Encoded here, off the event loop.
            rollup = _known(
                lambda: reader.rollup(name, of, asked.start_ns, asked.end_ns, asked.step_ns),
                f"device, stream: {name!r} has no stream {of!r}",
            )
            chosen = _channels(channel, [c.name for c in rollup.schema.channels])
            return msgspec.json.encode(answers.readings_answer(rollup, chosen, asked))

        return _fresh(await readers.ask(question))

    @app.get("/api/v1/ledger", **documented(answers.Ledger, "What is stored, pending, missing and why; by lane."))
    async def ledger(
        device: Annotated[str | None, Query(description="One device; all by default.")] = None,
    ) -> Response:
        name = None if device is None else query.parse_device(device)
        unknown = f"device: {name!r} has never been heard of"
        lanes = await readers.ask(lambda reader: _known(lambda: reader.ledger(name), unknown))
        return _fresh(answers.Ledger(verdict=worst_verdict([lane.verdict for lane in lanes]), lanes=lanes))


def _add_event_paths(app: FastAPI, readers: Readers) -> None:
    @app.get("/api/v1/events", **documented(answers.Events, "What detectors on devices raised, the newest first."))
    async def events(
        device: Annotated[str | None, Query(description="One device; all by default.")] = None,
        start: _Since = None,
        end: _To = None,
        limit: Annotated[str, Query(description=f"At most so many, 1 to {query.EVENTS_MAX}.")] = "100",
    ) -> Response:
        name, count = None if device is None else query.parse_device(device), query.parse_limit(limit)
        start_ns, end_ns = query.parse_span(start, end, _DAY_NS, now_ns=time.time_ns() + _AHEAD_NS)
        unknown = f"device: {name!r} has never been heard of"

        def question(reader: Reader) -> answers.Events:
            found, more = _known(lambda: newest_events(reader, name, start_ns, end_ns, count), unknown)
            return answers.Events(now_ns=time.time_ns(), more=more, events=[happening(one) for one in found])

        return _fresh(await readers.ask(question))

    @app.get("/api/v1/events/window", **documented(EventWindow, "An event with the rows that were told of it."))
    async def event_window(device: _Device, stream: _Stream, detector: _Stream, begun_us: str) -> Response:
        name, of = query.parse_device(device), query.parse_stream(stream)
        by, begun = query.parse_stream(detector), query.parse_begun(begun_us)
        unknown = f"device, stream, detector: {name!r} has no events of {of!r} by {by!r}"

        def question(reader: Reader) -> EventWindow:
            found: EventWindow | None = _known(lambda: window_of(reader, name, of, by, begun), unknown)
            if found is None:
                raise ProblemError(404, f"begun_us: no event began at {begun} us", "/api/v1/events lists them")
            return found

        return _fresh(await readers.ask(question))


def _add_live_paths(
    app: FastAPI, readers: Readers, live: Live, fleet: Fleet, *, silent_after_s: float, stale_after_s: float
) -> None:
    @app.get(
        "/api/v1/live",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        summary="New readings of a stream, pushed. Events: hello, readings (columns as in /api/v1/readings; `dropped` "
        "counts rows this listener was too slow for), beat.",
    )
    async def live_readings(device: _Device, stream: _Stream, channel: _Channels = None) -> Response:
        name, of = query.parse_device(device), query.parse_stream(stream)
        unknown = f"device, stream: {name!r} has no stream {of!r}"

        def question(reader: Reader) -> list[str]:
            found = [s for s in _known(lambda: reader.streams(name), unknown) if s.stream == of]
            if not found:
                raise ProblemError(404, unknown, f"/api/v1/devices/{name}/streams lists them")
            names = [c.name for c in found[0].channels]
            return [names[j] for j in _channels(channel, names)] if channel else []

        chosen = await readers.ask(question)
        subscription = live.subscribe(name, of)
        events = reading_events(subscription, chosen, stale_after_s=stale_after_s)
        return EventStream(events, lambda: live.leave(subscription))

    @app.get(
        "/api/v1/live/fleet",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        summary="The fleet, pushed. Events: hello, fleet (`all`: every device; else the changed ones and those `gone`; "
        "each with its info and lanes), beat.",
    )
    async def live_fleet() -> Response:
        listener = await fleet.join()
        return EventStream(fleet.events(listener, silent_after_s=silent_after_s), lambda: fleet.leave(listener))


def _add_page_paths(app: FastAPI, assets: Assets, scope: str) -> None:
    def answer(name: str, cache: str, encodings: str | None, known: str | None) -> Response:
        asset = assets.get(name)
        headers = {"Cache-Control": cache, "ETag": asset.tag, "Vary": "Accept-Encoding"}
        if known and asset.tag in known:
            return Response(None, 304, headers)
        if encodings and "gzip" in encodings:
            return Response(asset.gzipped, 200, {**headers, "Content-Encoding": "gzip"}, asset.media_type)
        return Response(asset.body, 200, headers, asset.media_type)

    # Plain functions: the framework runs them in a thread, so the first compression holds nobody up.
    @app.get("/", include_in_schema=False)
    def page(accept_encoding: Annotated[str | None, Header()] = None) -> Response:
        return answer(PAGE, "no-cache", accept_encoding, None)

    @app.get("/assets/{name}", include_in_schema=False)
    def file(
        name: str,
        accept_encoding: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        if name not in ASSET_NAMES:
            raise ProblemError(404, f"{name[:80]!r} is not part of the page", "open /")
        cache = f"{scope}, max-age=604800" if name == CHART_LIBRARY else "no-cache"
        return answer(name, cache, accept_encoding, if_none_match)


def _fresh(content: object) -> Answer:
    return Answer(content, 200, {"Cache-Control": "no-store"})


def _known(question: Callable[[], Any], unknown: str) -> Any:
    try:
        return question()
    except NeverHeardOfError:
        raise ProblemError(404, unknown, "/api/v1/devices lists all devices and their streams") from None


def _channels(asked: list[str] | None, names: list[str]) -> list[int]:
    if not asked:
        return list(range(len(names)))
    for name in asked:
        if name not in names:
            raise ProblemError(404, f"channel: the stream has no {name[:80]!r}", f"one of {', '.join(names)[:400]}")
    return [names.index(name) for name in asked]

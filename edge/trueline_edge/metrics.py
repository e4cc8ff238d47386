"""Figures for Prometheus, on a server small enough to be trusted with a hostile client: one request, then closed.

Promises: a scrape sees one consistent snapshot; whatever a client sends, it costs at most 8 KiB and five seconds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from trueline_edge.figures import Figures

__all__ = ["render", "serve_forever"]

_LOG: Final = logging.getLogger(__name__)
_REQUEST_MAX: Final = 8192
_TIMEOUT_S: Final = 5.0
_CLIENTS_MAX: Final = 16


class _Snapshot:
    """A collector of one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's `Collector`."""
        f = self._figures
        counters: tuple[tuple[str, str, float], ...] = (
            ("rows_sampled", "Readings rows given by sources, over the life of the state folder.", f.rows_sampled),
            ("rows_spooled", "Readings rows made durable, over the life of the state folder.", f.rows_spooled),
            ("rows_insignificant", "Readings rows left out within their stated error bound.", f.rows_insignificant),
            ("rows_dropped", "Readings rows dropped from a full spool.", f.rows_dropped),
            ("rows_corrupt", "Readings rows found damaged in the spool.", f.rows_corrupt),
            ("rows_acknowledged", "Readings rows acknowledged or accounted for by the cloud.", f.rows_acknowledged),
            ("frames_appended", "Frames made durable.", f.frames_appended),
            ("frames_sent", "Frames handed to a link, again and again included.", f.frames_sent),
            ("frames_acknowledged", "Frame numbers acknowledged since the start.", f.frames_acknowledged),
            ("timeouts", "Times the retransmission timer ran out.", f.timeouts),
        )
        for name, text, value in counters:
            yield CounterMetricFamily(f"trueline_{name}", text, value=value)
        lost = CounterMetricFamily("trueline_rows_lost", "Readings rows lost before the spool.", labels=["reason"])
        for reason, count in f.rows_lost.items():
            lost.add_metric([reason], count)
        yield lost
        alarms = CounterMetricFamily("trueline_alarms", "What a person should look at.", labels=["alarm"])
        for alarm, count in f.alarms.items():
            alarms.add_metric([alarm], count)
        yield alarms
        gauges: tuple[tuple[str, str, float], ...] = (
            ("spool_bytes", "Bytes of the spool in use.", f.spool_bytes),
            ("spool_limit_bytes", "Bytes the spool may use.", f.spool_limit_bytes),
            ("link_up", "1 while a link is up.", float(f.link_up)),
            (
                "last_ack_age_seconds",
                "Since the last acknowledgement that moved; NaN before the first.",
                f.last_ack_age_s,
            ),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"trueline_{name}", text, value=value)


def render(figures: Figures) -> bytes:
    """The text of a scrape."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(figures))
    return generate_latest(registry)


async def serve_forever(host: str, port: int, figures: Callable[[], Figures]) -> None:
    """Answer GET /metrics until cancelled."""
    clients = asyncio.Semaphore(_CLIENTS_MAX)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S), clients:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, figures))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # weather, or somebody who does not speak HTTP
        finally:
            writer.close()

    server = await asyncio.start_server(answer, host, port, limit=_REQUEST_MAX)
    async with server:
        address = server.sockets[0].getsockname()
        _LOG.info("serving metrics", extra={"url": f"http://{host}:{address[1]}/metrics"})
        await server.serve_forever()


def _response(head: bytes, figures: Callable[[], Figures]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
    if method != b"GET":
        return b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    if path != b"/metrics":
        return b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    body = render(figures())
    kind = b"text/plain; version=0.0.4; charset=utf-8"
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        kind,
        len(body),
        body,
    )

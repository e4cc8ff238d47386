"""Figures for Prometheus, and the small server that shows them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trueline_edge.figures import Figures
from trueline_edge.metrics import render, serve_forever
from trueline_sim.children import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIGURES = Figures(
    rows_sampled=10,
    rows_spooled=9,
    rows_lost={"overrun": 1},
    rows_insignificant=4,
    rows_dropped=2,
    rows_corrupt=0,
    rows_acknowledged=7,
    frames_appended=3,
    frames_sent=4,
    frames_acknowledged=2,
    bytes_appended=100,
    values_appended=80,
    timeouts=1,
    alarms={"twin": 1},
    spool_bytes=4096,
    spool_limit_bytes=1 << 20,
    link_up=True,
    last_ack_age_s=math.nan,
    drained=False,
)


def samples(text: bytes) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{v}}}" for v in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_is_scraped_is_what_is_the_case() -> None:
    """Every figure the operations manual names is there, with its value."""
    found = samples(render(FIGURES))
    assert found["trueline_rows_sampled_total"] == 10
    assert found["trueline_rows_spooled_total"] == 9
    assert found["trueline_rows_dropped_total"] == 2
    assert found["trueline_rows_acknowledged_total"] == 7
    assert found["trueline_rows_lost_total{overrun}"] == 1
    assert found["trueline_rows_insignificant_total"] == 4
    assert found["trueline_alarms_total{twin}"] == 1
    assert found["trueline_timeouts_total"] == 1
    assert found["trueline_spool_bytes"] == 4096
    assert found["trueline_spool_limit_bytes"] == 1 << 20
    assert found["trueline_link_up"] == 1
    assert math.isnan(found["trueline_last_ack_age_seconds"])


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(serve_forever("127.0.0.1", port, lambda: FIGURES))
    await asyncio.sleep(0.05)
    try:
        yield port
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    with contextlib.suppress(ConnectionError):
        writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return answer


async def test_the_server_answers_a_scrape() -> None:
    """GET /metrics gives the text; anything else gives 404 or 405."""
    async with served() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert samples(body)["trueline_rows_spooled_total"] == 9
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert (await ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")


@pytest.mark.parametrize("rubbish", [b"", b"\r\n\r\n", b"\x16\x03\x01" * 50, b"GET /" + b"a" * 100_000, b"GET\r\n\r\n"])
async def test_rubbish_does_not_end_the_server(rubbish: bytes) -> None:
    """Whatever is sent, the next scrape is answered."""
    async with served() as port:
        await ask(port, rubbish)
        assert (await ask(port, b"GET /metrics HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_free_port_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Port 0 takes any free port, and the log says which."""
    with caplog.at_level(logging.INFO, "trueline_edge.metrics"):
        task = asyncio.create_task(serve_forever("127.0.0.1", 0, lambda: FIGURES))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    urls = [vars(record)["url"] for record in caplog.records]
    assert len(urls) == 1
    assert json.dumps(urls[0]).endswith('/metrics"')
    assert ":0/" not in urls[0]

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.outages import BadWeather, Outage, draw_outages, merged, parse_outage, parse_range
from trueline_sim.proxy import Weather

_TIMES = st.floats(0.0, 100.0, allow_nan=False)
_OUTAGES = st.lists(st.tuples(_TIMES, st.floats(0.1, 50.0)).map(lambda pair: Outage(pair[0], sum(pair))), max_size=12)


def test_texts_say_when_and_how_long() -> None:
    """START:SECONDS and LOW:HIGH are read; anything else is refused with what is wanted."""
    assert parse_outage("20:8") == Outage(20.0, 28.0)
    assert parse_range("5:60") == (5.0, 60.0)
    for text in ("20", "a:b", "20:0", "-1:5", "1:inf"):
        with pytest.raises(ValueError, match=r"wanted|cannot be"):
            parse_outage(text)
    for text in ("0:5", "6:5"):
        with pytest.raises(ValueError, match="LOW:HIGH"):
            parse_range(text)


@given(_OUTAGES, _TIMES)
def test_merging_changes_no_moment(outages: list[Outage], moment: float) -> None:
    """A moment is in an outage after merging exactly if it was before, and merged outages are apart."""
    apart = merged(outages)
    assert any(o.start_s <= moment <= o.end_s for o in outages) == any(o.start_s <= moment <= o.end_s for o in apart)
    assert all(one.end_s < other.start_s for one, other in pairwise(apart))


def test_random_outages_come_as_often_and_last_as_long_as_asked() -> None:
    """2,000 devices in an hour at 3 outages each: Poisson count, durations within the range, the seed decides."""
    drawn = draw_outages(devices=2000, run_s=3600.0, per_device_hour=3.0, seconds=(1.0, 4.0), seed=5)
    counts = np.array([len(mine) for mine in drawn])
    assert abs(counts.mean() - 3.0) < 4 * np.sqrt(3.0 / 2000) + 0.02  # a few are merged
    assert abs(counts.var() - 3.0) < 0.4
    alone = [outage.seconds for mine in drawn if len(mine) == 1 for outage in mine]
    assert min(alone) >= 1.0
    assert max(alone) <= 4.0
    mean, square = 3.0 / np.log(4.0), 15.0 / 2 / np.log(4.0)  # of a log-uniform number from 1 to 4
    assert abs(np.mean(alone) - mean) < 4 * np.sqrt((square - mean**2) / len(alone))
    assert drawn == draw_outages(devices=2000, run_s=3600.0, per_device_hour=3.0, seconds=(1.0, 4.0), seed=5)
    assert drawn != draw_outages(devices=2000, run_s=3600.0, per_device_hour=3.0, seconds=(1.0, 4.0), seed=6)
    assert not any(draw_outages(devices=10, run_s=3600.0, per_device_hour=0.0, seconds=(1.0, 4.0), seed=5))


async def test_an_outage_resets_and_silence_does_not() -> None:
    """A planned outage cuts the connection and refuses new ones until it is over; silence only keeps things waiting."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    weather = BadWeather(Weather(), outages=[Outage(1.5, 2.0)], silences=[Outage(0.1, 0.8)], seed=1)
    assert weather.matters
    port = await weather.open("127.0.0.1", server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"1")
    assert await reader.readexactly(1) == b"1"
    start_s = asyncio.get_running_loop().time()
    weather.begin()
    await asyncio.sleep(0.3)
    writer.write(b"2")
    assert await reader.readexactly(1) == b"2"
    assert asyncio.get_running_loop().time() - start_s >= 0.75  # it came when the silence was over, and not before
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    with pytest.raises(OSError, match="onnect"):
        await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(max(start_s + 2.2 - asyncio.get_running_loop().time(), 0.0))
    again_reader, again = await asyncio.open_connection("127.0.0.1", port)
    again.write(b"3")
    assert await again_reader.readexactly(1) == b"3"
    await weather.close()
    for each in (writer, again):
        each.close()
    server.close()


def test_fine_weather_does_not_matter() -> None:
    """Negative control: with nothing planned, no proxy is wanted."""
    assert not BadWeather(Weather(), seed=1).matters

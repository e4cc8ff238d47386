"""One stream with stages that remember and hold rows back: what it gives, and how it goes on after a restart."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from trueline_edge.checkpoint import Mark
from trueline_edge.config import AgentConfig
from trueline_edge.stream import Stream
from trueline_wire.readings import Readings
from trueline_wire.settings import parse_toml

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.framing import Cut

TEXT = """
device = "d-1"
state = "state"
frame = { rows_max = 7 }
cloud = { public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }
link = [{ protocol = "coap", host = "127.0.0.1" }]
[[stream]]
name = "s"
source = { type = "replay", path = "in.csv", time_format = "s", speed = "flat_out" }
[[stream.channel]]
name = "a"
[[stream.stage]]
type = "timing"
interval_s = 1
[[stream.stage]]
type = "spike"
mode = "centred"
width = 7
[[stream.stage]]
type = "spike"
mode = "centred"
width = 4
[[stream.stage]]
type = "noise"
suspect_times = 5
learn_samples = 20
window = 10
"""
ROWS = 100


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    """A stream whose stages hold five rows back in all."""
    values = np.sin(2.4 * np.arange(ROWS))
    values[[30, 60, 61]] = 99.0
    lines = [f"{1_600_000_000 + n},{value}" for n, value in enumerate(values.tolist())]
    (tmp_path / "in.csv").write_text("t,a\n" + "\n".join(lines) + "\n")
    return parse_toml(TEXT, tmp_path / "agent.toml", AgentConfig)


def run(config: AgentConfig, mark: Mark, batches: int | None = None) -> tuple[list[Cut], Stream]:
    """Read to the end, or so many batches; the cuts that were made."""
    stream = Stream(config.streams[0], config, mark)
    cuts: list[Cut] = []

    async def read() -> None:
        left = batches
        async for batch in stream.source.batches():
            cuts.extend(stream.take(batch))
            if left is not None and (left := left - 1) == 0:
                return
        cuts.extend(stream.finish())

    asyncio.run(read())
    return cuts, stream


def rows_of(cuts: list[Cut]) -> Readings:
    return Readings.concatenate([readings for cut in cuts for readings in cut.readings])


def test_every_row_comes_once_through_stages_that_hold_rows_back(config: AgentConfig) -> None:
    """All rows of the file, in order, and both spikes flagged."""
    rows = rows_of(run(config, Mark())[0])
    assert np.array_equal(rows.time_ns, (1_600_000_000 + np.arange(ROWS)) * 10**9)
    assert {30, 60, 61} <= set(np.flatnonzero(rows.flag[:, 0] > 2).tolist())  # worse than not evaluated


@pytest.mark.parametrize("batches", range(1, 14))
def test_killed_at_any_cut_it_goes_on_as_if_nothing_happened(config: AgentConfig, batches: int) -> None:
    """Offset and stages of the last cut, with the rows held back, give the rest: no row twice, none missing."""
    whole = rows_of(run(config, Mark())[0])
    cuts, _ = run(config, Mark(), batches)  # what is still held when it dies is gone
    mark = Mark(offset=cuts[-1].offset, stages=cuts[-1].stages) if cuts else Mark()
    again, _ = run(config, msgspec.msgpack.decode(msgspec.msgpack.encode(mark), type=Mark))
    both = rows_of([*cuts, *again])
    for name in ("time_ns", "value", "flag", "reason"):
        assert getattr(both, name).tobytes() == getattr(whole, name).tobytes()


def test_a_damaged_state_does_not_stop_the_agent(config: AgentConfig, caplog: pytest.LogCaptureFixture) -> None:
    """Stages that cannot read what they had saved start fresh, and say so."""
    cuts, stream = run(config, Mark(), 8)
    damaged = bytearray(cuts[-1].stages)
    damaged[-200:] = bytes(200)
    with caplog.at_level(logging.WARNING):
        fresh = Stream(config.streams[0], config, Mark(offset=cuts[-1].offset, stages=bytes(damaged)))
    assert "start fresh" in caplog.text
    assert fresh.pipeline.state() != stream.pipeline.state()
    assert fresh.pipeline.state() == Stream(config.streams[0], config, Mark()).pipeline.state()

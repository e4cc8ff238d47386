from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from page_kit import PUMP

from trueline_cloud.api.app import create_app
from trueline_cloud.live import Live
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.columns import encode_columns
from trueline_wire.delivery import EpochState, Group, LaneState, StoredFrame
from trueline_wire.envelope import Lane
from trueline_wire.frame import Data, seal_record
from trueline_wire.keys import SigningKey
from trueline_wire.readings import Readings, worst_flag

if TYPE_CHECKING:
    from numpy.typing import NDArray

START_NS = 1_800_000_000 * 10**9
SIGNER = SigningKey(bytes(32))
EPOCH = bytes(8)


def stored(folder: Path, batches: list[Readings]) -> None:
    """A journal that holds the batches, one frame each."""
    journal = Journal(folder / "journal.db")
    frames, rows = [], 0
    for number, batch in enumerate(batches, 2):
        first, last = int(batch.time_ns.min()), int(batch.time_ns.max())
        body = encode_columns(batch)
        n = len(batch)
        record = Data(PUMP.device, Lane.DATA, EPOCH, number, rows, n, PUMP.hash, n, first, last, body)
        frames.append(StoredFrame(record, seal_record(record, SIGNER), batch))
        rows += n
    state = EpochState(epoch=EPOCH, last=len(batches) + 1, rows=rows, head=len(batches) + 1, rows_head=rows)
    group = Group[Readings](
        lanes={(PUMP.device, Lane.DATA): (0, LaneState(version=1, epochs=(state,)))},
        frames=frames,
        schemas=[(PUMP.device, PUMP.encoded)],
    )
    journal.commit(group)
    journal.close()


def ask(folder: Path, path: str, **params: str) -> Any:
    """The answer of the application over that journal."""

    async def once() -> httpx.Response:
        app = create_app(
            open_reader=lambda: JournalReader(folder), live=Live(), token=None, metrics=lambda: b"", health=dict
        )
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
        ):
            return await client.get(path, params=params)

    answer = asyncio.run(once())
    assert answer.status_code == 200, answer.text
    return answer.json()


def textbook(rows: Readings, here: NDArray[np.bool_], j: int) -> dict[str, float]:
    """What one step of one channel is, said with NumPy over the raw rows."""
    value, u, flag = rows.value[here, j], rows.u[here, j], rows.flag[here, j]
    counts = np.isfinite(value) & ~np.isin(flag, [4, 9])
    stated = u[counts & np.isfinite(u)].astype(float)
    some = bool(counts.any())
    return {
        "count": int(counts.sum()),
        "mean": value[counts].mean() if some else math.nan,
        "min": value[counts].min() if some else math.nan,
        "max": value[counts].max() if some else math.nan,
        "u": math.sqrt(np.mean(stated**2)) if len(stated) else math.nan,
        "flag": int(worst_flag(flag, axis=0)),
    }


# Each example syncs a journal, so a failing one is shown as it is found.
@settings(max_examples=10, phases=(Phase.explicit, Phase.generate))
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([1, 7, 30, 60, 120, 300]))
def test_steps_are_numpy_over_the_raw_rows(seed: int, frames: int, step_s: int) -> None:
    """Over the real journal, every step's count, mean, min, max, u and flag equal NumPy's over the raw rows."""
    rng = np.random.default_rng(seed)
    batches = []
    for i in range(frames):
        n = int(rng.integers(1, 200))
        value = np.round(rng.normal(5, 2, (n, 2)), 3)
        value[rng.random((n, 2)) < 0.1] = np.nan
        u = np.where(rng.random((n, 2)) < 0.1, np.nan, rng.uniform(0.1, 1, (n, 2))).astype(np.float32)
        flag = rng.choice(np.array([1, 1, 1, 2, 3, 4, 9], np.uint8), (n, 2))
        time_ns = START_NS + (i * 200 + np.arange(n)) * 10**9 + rng.integers(0, 10**8, n)
        batches.append(Readings(PUMP, time_ns, value, u, flag, np.zeros((n, 2), np.uint32)))
    rows = Readings.concatenate(batches)
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder), batches)
        asked = {"from": str(START_NS), "to": str(START_NS + 800 * 10**9), "step": f"{step_s}s"}
        answer = ask(Path(folder), "/api/v1/readings", device="pump-7", stream="valve", **asked)
        streams = ask(Path(folder), "/api/v1/devices/pump-7/streams")["streams"]
        ledger = ask(Path(folder), "/api/v1/ledger", device="pump-7")
    numbers = rows.time_ns // (step_s * 10**9)
    assert answer["time_ns"] == (np.unique(numbers) * step_s * 10**9).tolist()
    for i, number in enumerate(np.unique(numbers)):
        for j, series in enumerate(answer["series"]):
            expected = textbook(rows, numbers == number, j)
            found = {key: math.nan if series[key][i] is None else series[key][i] for key in expected}
            # u travels on a grid of 1 %, and is answered with four digits.
            assert found.pop("u") == pytest.approx(expected.pop("u"), nan_ok=True, rel=0.006)
            assert found == pytest.approx(expected, nan_ok=True, rel=1e-12)
    assert streams[0]["first_ns"] == rows.time_ns.min()
    assert streams[0]["last_ns"] == rows.time_ns.max()
    assert ledger["verdict"] == "complete"
    assert ledger["lanes"][0]["rows_stored"] == len(rows)

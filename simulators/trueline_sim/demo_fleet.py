"""The demo's devices: what they measure, and what is wrong with it so that the flags have something to say.

Every device has two streams: `pump`, four seeded signals whose pressure leaves its range at the top of each swing, and
`room`, a recording with empty cells and a sensor that sticks (`recording`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from trueline_sim.recording import write_recording

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PUMP_HZ", "ROOM_HZ", "STREAMS", "device_names", "device_streams", "without_rows"]

STREAMS: Final = ("pump", "room")
PUMP_HZ: Final = 20.0
ROOM_HZ: Final = 5.0

_ROOM_SECONDS_MAX: Final = 6 * 3600


def device_names(count: int) -> list[str]:
    """Their ids: pump-1, pump-2 and so on."""
    return [f"pump-{number}" for number in range(1, count + 1)]


def device_streams(device: str, folder: Path, *, seed: int, seconds: float | None) -> list[dict[str, Any]]:
    """The `[[stream]]` tables of a device; writes its recording into the folder.

    Args:
        device: its id.
        folder: made if it is not there.
        seed: of all its signals.
        seconds: how long it measures; None for hours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recording = folder / f"{device}.csv"
    room_rows = round((seconds or _ROOM_SECONDS_MAX) * ROOM_HZ)
    write_recording(recording, start_ns=time.time_ns(), rows=room_rows, rate_hz=ROOM_HZ, seed=seed)
    return [_pump(seed, None if seconds is None else round(seconds * PUMP_HZ)), _room(recording)]


def without_rows(streams: list[dict[str, Any]]) -> dict[str, Any]:
    """The `[[stream]]` table of a device that has nothing more to measure: its agent only empties its spool."""
    pump = streams[STREAMS.index("pump")]
    return {**pump, "source": {**pump["source"], "rows": 0}}


def _pump(seed: int, rows: int | None) -> dict[str, Any]:
    return {
        "name": "pump",
        "source": {"type": "simulated", "rate_hz": PUMP_HZ, "seed": seed, "rows": rows},
        "channel": [
            {
                "name": "pressure",
                "unit": "bar",
                "resolution": 0.01,
                "u": 0.02,
                "signal": {"kind": "sine", "mean": 4.0, "amplitude": 0.5, "period_s": 20.0 + seed % 7, "noise": 0.02},
            },
            {
                "name": "temperature",
                "unit": "Cel",
                "resolution": 0.1,
                "u": 0.3,
                "signal": {"kind": "random_walk", "mean": 62.0, "step": 0.1, "noise": 0.05},
            },
            {
                "name": "current",
                "unit": "A",
                "resolution": 0.01,
                "u": 0.05,
                "signal": {"kind": "square", "mean": 2.1, "amplitude": 0.6, "period_s": 15.0, "noise": 0.03},
            },
            {
                "name": "vibration",
                "unit": "mm/s",
                "resolution": 0.001,
                "u": 0.01,
                "signal": {"kind": "noise", "mean": 1.8, "noise": 0.2},
            },
        ],
        "stage": [
            {"type": "missing"},
            {"type": "gross_range", "channels": ["pressure"], "minimum": 0.0, "maximum": 4.45},
        ],
    }


def _room(recording: Path) -> dict[str, Any]:
    return {
        "name": "room",
        "source": {"type": "replay", "path": str(recording), "time_column": "time", "time_format": "ns"},
        "channel": [
            {"name": "temperature", "unit": "Cel", "resolution": 0.01, "u": 0.1},
            {"name": "humidity", "unit": "%", "resolution": 0.1, "u": 1.0},
        ],
        "stage": [
            {"type": "missing"},
            {"type": "flat_line", "channels": ["humidity"], "suspect_repeats": 4, "fail_repeats": 8},
        ],
    }

"""The demo's devices: what they measure, and what is wrong with it so that the flags have something to say.

Every device has two streams, replayed in real time from recordings of worlds: `pump`, a water loop; and `room`, a
greenhouse or a cold box, by turns, where time passes faster so that there is something to see. Sensors have their
datasheets' errors and break in labelled ways (`labels.csv` beside the recordings): in rooms as they are drawn, at pumps
by the schedule of `demo_injections`, after two hours of normal running for a model to learn from. Rows are never lost
or doubled before the agent reads them, so that whatever the cloud misses has been lost by us.

Promises: the same seed and devices give the same values. Refuses to know how an agent finds the faults.
"""

from __future__ import annotations

import csv
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from trueline_sim.block import Grid
from trueline_sim.demo_injections import injections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from trueline_sim.demo_injections import Injection
    from trueline_sim.faults.fault import Fault
    from trueline_sim.truth.scenario import ProcessAnomaly, Scenario
    from trueline_sim.world import World

__all__ = [
    "NORMAL_S",
    "PUMP_HZ",
    "PUMP_SPEED",
    "ROOM_HZ",
    "ROOM_SPEED",
    "STREAMS",
    "WATCHED_MAX",
    "Devices",
    "device_names",
    "device_streams",
    "record_s",
    "without_rows",
]

STREAMS: Final = ("pump", "room")
PUMP_HZ: Final = 20.0
PUMP_SPEED: Final = 10.0
ROOM_HZ: Final = 5.0
ROOM_SPEED: Final = 60.0

WATCHED_MAX: Final = 3
"""So many pumps have a model and a schedule of what goes wrong: each model costs seconds at the start."""

NORMAL_S: Final = 7200.0
"""How long all is well before the demo begins, in the recording's time; there is none before a run too short to show
an event."""

LABELS: Final = ("device", "stream", "channel", "kind", "is_process", "start_ns", "end_ns", "magnitude")

_DEVICE_SECONDS_MAX: Final = 3 * 2700.0
_RECORDED_MIN_S: Final = 900.0
_FAULTS_PER_10000_ROWS: Final = 30.0
_DECIMALS: Final = 6
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a scenario is to the demo: channels that are shown, and stages that judge them."""

    scenario: str
    channels: tuple[str, ...]
    limits: dict[str, tuple[float, float]]
    flat: dict[str, tuple[int, int]]

    def stages(self) -> list[dict[str, Any]]:
        """The `[[stream.stage]]` tables."""
        ranges = [
            {"type": "gross_range", "channels": [name], "minimum": low, "maximum": high}
            for name, (low, high) in self.limits.items()
        ]
        flats = [
            {"type": "flat_line", "channels": [name], "suspect_repeats": suspect, "fail_repeats": fail}
            for name, (suspect, fail) in self.flat.items()
        ]
        return [{"type": "missing"}, *ranges, *flats]


# Repeats: healthy sensors of these scenarios repeat a value up to half as often as is suspect here.
_PUMP: Final = _Kind(
    scenario="water_loop",
    channels=("pressure", "flow", "current", "motor_temperature"),
    limits={"pressure": (-0.2, 3.0), "flow": (0.0, 250.0), "current": (-2.0, 15.0), "motor_temperature": (0.0, 120.0)},
    flat={"pressure": (12, 24), "current": (8, 16)},
)
_ROOMS: Final = (
    _Kind(
        scenario="greenhouse",
        channels=("air_temperature", "humidity", "soil_moisture", "light"),
        limits={"air_temperature": (-5.0, 45.0), "humidity": (0.0, 100.0), "soil_moisture": (0.0, 0.6)},
        flat={"air_temperature": (16, 32)},
    ),
    _Kind(
        scenario="cold_chain",
        channels=("air_temperature", "goods_temperature", "humidity", "door_open"),
        limits={"air_temperature": (-30.0, 25.0), "goods_temperature": (-30.0, 15.0), "humidity": (0.0, 100.0)},
        flat={"air_temperature": (16, 32)},
    ),
)


def device_names(count: int) -> list[str]:
    """Their ids: pump-1, pump-2 and so on."""
    return [f"pump-{number}" for number in range(1, count + 1)]


def record_s(devices: int, seconds: float | None) -> float:
    """How long the recordings are: as long as is asked, else 45 minutes, or less where many devices would take long."""
    return seconds or min(2700.0, max(_DEVICE_SECONDS_MAX / devices, _RECORDED_MIN_S))


@dataclass(frozen=True, slots=True)
class Devices:
    """What the demo's devices measure.

    Attributes:
        streams: the `[[stream]]` tables of each.
        normal: normal running of the pumps that shall have a model: a recording of the time before.
        injected: what goes wrong at those pumps.
        start_ns: time of the first reading.
    """

    streams: dict[str, list[dict[str, Any]]]
    normal: dict[str, Path]
    injected: list[Injection]
    start_ns: int


def device_streams(devices: Sequence[str], folder: Path, *, seed: int, seconds: float) -> Devices:
    """Write the recordings of all devices, and the labels, into the folder.

    Args:
        devices: their ids.
        folder: made if it is not there.
        seed: of all worlds.
        seconds: how long they measure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start_ns = time.time_ns()
    names = list(devices)
    made = Devices({name: [] for name in names}, {}, injections(min(len(names), WATCHED_MAX), seconds), start_ns)
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(LABELS)
        normal_s = NORMAL_S if made.injected else 0.0
        rooms = [("room", ROOM_HZ, ROOM_SPEED, kind, names[turn::2], 0.0) for turn, kind in enumerate(_ROOMS)]
        pumps = [
            ("pump", PUMP_HZ, PUMP_SPEED, _PUMP, names[:WATCHED_MAX], normal_s),
            ("pump", PUMP_HZ, PUMP_SPEED, _PUMP, names[WATCHED_MAX:], 0.0),
        ]
        for number, (stream, rate_hz, speed, kind, mine, before_s) in enumerate([*pumps, *rooms]):
            if not mine:
                continue
            before, steps = round(before_s * rate_hz), max(round(seconds * rate_hz), 1)
            grid = Grid(start_ns - before * round(_NS / rate_hz), 1.0 / rate_hz, before + steps)
            scheduled = made.injected if before else None
            world = _world(kind, grid, speed, devices=len(mine), seed=seed + number, first=before, scheduled=scheduled)
            paths = [folder / f"{name}.{stream}.csv" for name in mine]
            normal = [folder / f"{name}.{stream}.normal.parquet" for name in mine] if before else []
            _write(world, kind, grid, paths, normal)
            made.normal.update(zip(mine, normal, strict=False))
            labels.writerows(_labels(world, kind, grid, stream, mine))
            for name, path in zip(mine, paths, strict=True):
                made.streams[name].append(_table(stream, kind, world, path))
    return made


def without_rows(streams: list[dict[str, Any]]) -> dict[str, Any]:
    """The `[[stream]]` table of a device that has nothing more to measure: its agent only empties its spool."""
    channel = streams[0]["channel"][0]
    return {
        "name": "idle",
        "source": {"type": "simulated", "rate_hz": 1.0, "seed": 1, "rows": 0},
        "channel": [
            {"name": channel["name"], "unit": channel["unit"], "signal": {"kind": "noise", "mean": 0.0, "noise": 1.0}}
        ],
    }


def _world(
    kind: _Kind,
    grid: Grid,
    speed: float,
    *,
    devices: int,
    seed: int,
    first: int,
    scheduled: Sequence[Injection] | None,
) -> World:
    """A world whose clock runs `speed` times as fast as the grid's.

    What goes wrong in it is what is scheduled, in seconds after step `first`; where nothing is, it is drawn, but for
    faults of rows.
    """
    from trueline_sim.faults.draw import draw_faults  # noqa: PLC0415 - scipy takes a second: while others start
    from trueline_sim.faults.fault import VALUE_KINDS  # noqa: PLC0415 - as above
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - as above
    from trueline_sim.world import World  # noqa: PLC0415 - as above

    scenario = SCENARIOS[kind.scenario]
    world_grid = Grid(grid.start_ns, grid.interval_s * speed, grid.steps)
    anomalies: bool | Sequence[ProcessAnomaly] = True
    if scheduled is not None:
        faults, anomalies = _scheduled(scenario, scheduled, world_grid.time_ns(first), speed)
    else:
        faults = draw_faults(
            channels=len(scenario.measurands),
            devices=devices,
            grid=world_grid,
            seed=seed,
            per_10000_rows=_FAULTS_PER_10000_ROWS,
        )
    return World(
        scenario,
        devices=devices,
        seed=seed,
        steps=grid.steps,
        start_ns=grid.start_ns,
        interval_s=world_grid.interval_s,
        faults=[fault for fault in faults if fault.kind in VALUE_KINDS],
        anomalies=anomalies,
    )


def _scheduled(
    scenario: Scenario, scheduled: Sequence[Injection], start_ns: int, speed: float
) -> tuple[list[Fault], list[ProcessAnomaly]]:
    """A schedule in the world's own time."""
    from trueline_sim.faults.fault import Fault  # noqa: PLC0415 - as above
    from trueline_sim.truth.scenario import ProcessAnomaly  # noqa: PLC0415 - as above

    names = [measurand.name for measurand in scenario.measurands]
    faults, anomalies = [], []
    for one in scheduled:
        first_ns, last_ns = (start_ns + round(at_s * speed * _NS) for at_s in (one.start_s, one.end_s))
        if one.channel:
            faults.append(Fault(one.kind, one.device, names.index(one.channel), first_ns, last_ns, one.magnitude))
        else:
            anomalies.append(ProcessAnomaly(one.kind, one.device, first_ns, last_ns, one.magnitude))
    return faults, anomalies


def _write(world: World, kind: _Kind, grid: Grid, paths: Sequence[Path], normal: Sequence[Path]) -> None:
    """A CSV file for each device: `time` in whole ns since 1970, then channels; empty where nothing was measured.

    Where normal running is asked for, it comes first, and goes into Parquet files with the channels' units.
    """
    import numpy as np  # noqa: PLC0415 - as the worlds
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.csv as pa_csv  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    names = [channel.name for channel in world.channels]
    columns = [names.index(name) for name in kind.channels]
    units = [{"unit": world.channels[column].unit} for column in columns]
    fields = [pa.field(name, pa.float64(), metadata=unit) for name, unit in zip(kind.channels, units, strict=True)]
    schema = pa.schema([("time", pa.int64()), *fields])
    before = round(NORMAL_S / grid.interval_s) if normal else 0
    with ExitStack() as stack:
        files = [stack.enter_context(pa_csv.CSVWriter(path, schema)) for path in paths]
        histories = [stack.enter_context(pq.ParquetWriter(path, schema)) for path in normal]
        for block in world:
            times = grid.times_ns(block.first_step, len(block))
            # The double nearest to each decimal, as a device would print it.
            shown = np.round(block.raw[:, :, columns], _DECIMALS)
            cut = min(max(before - block.first_step, 0), len(block))
            for writers, rows in ((histories, slice(0, cut)), (files, slice(cut, None))):
                for device, writer in enumerate(writers if len(times[rows]) else ()):
                    cells = [pa.array(shown[rows, device, j], from_pandas=True) for j in range(len(columns))]
                    writer.write_table(pa.table([pa.array(times[rows]), *cells], schema=schema))


def _labels(
    world: World, kind: _Kind, grid: Grid, stream: str, devices: Sequence[str]
) -> Iterable[tuple[str, str, str, str, bool, int, int, float]]:
    """What is wrong, in the recording's own time; `LABELS` names the columns."""

    def stamped(true_ns: int) -> int:
        speed = world.grid.interval_s / grid.interval_s
        return grid.start_ns + round((true_ns - world.grid.start_ns) / speed)

    for fault in world.faults:
        name = world.channels[fault.channel].name
        if name in kind.channels:
            times = stamped(fault.start_ns), stamped(fault.end_ns)
            yield devices[fault.device], stream, name, fault.kind, False, *times, fault.magnitude
    for anomaly in world.anomalies:
        times = stamped(anomaly.start_ns), stamped(anomaly.end_ns)
        yield devices[anomaly.device], stream, "", anomaly.kind, True, *times, anomaly.magnitude


def _table(stream: str, kind: _Kind, world: World, path: Path) -> dict[str, Any]:
    by_name = {channel.name: channel for channel in world.channels}
    shown = [by_name[name] for name in kind.channels]
    return {
        "name": stream,
        "source": {"type": "replay", "path": str(path), "time_column": "time", "time_format": "ns"},
        "channel": [
            {"name": c.name, "unit": c.unit, "resolution": c.resolution, "u": c.u, "sensor": c.sensor} for c in shown
        ],
        "stage": kind.stages(),
    }

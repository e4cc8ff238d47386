"""A drive through the stage `estimate`: in memory while the model is fitted, as `trueline-edge replay` at the end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fit import Estimated
from measurements import ANCHORS, Drive, Track

from trueline_edge.config import load_config
from trueline_edge.replay import replay_file
from trueline_edge.stages.estimate import Estimate, Output
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["MODEL", "Score", "configure", "follow", "replay", "score"]

MODEL = Path(__file__).with_name("model.py")
NAMES = tuple(f"range_{anchor}" for anchor in ANCHORS)

COVERAGE_FACTOR = 1.959964
"""Of a 95 % interval (GUM 6.2, normal)."""


class Score(NamedTuple):
    """How a track compares with the truth.

    Attributes:
        rmse_m: root mean square of the distance between the two, in the plane.
        coverage: share of x and y within their 95 % interval; NaN for a track that states none.
        width_m: mean half width of these intervals.
        rows: compared.
    """

    rmse_m: float
    coverage: float
    width_m: float
    rows: int


def follow(
    drive: Drive, parameters: dict[str, Any], clock_s: float, until_s: float = np.inf, kind: str = "ekf"
) -> Estimated:
    """The stage over the ranges up to `until_s`, without files."""
    m = len(drive.anchors_m)
    schema = Schema(device="tag", stream="uwb", channels=tuple(Channel(name=f"range_{i}", unit="m") for i in range(m)))
    config = Estimate(
        model=MODEL,
        parameters=parameters,
        filter=kind,  # type: ignore[arg-type]  # one of ekf, ukf
        outputs=(Output(name="x", unit="m"), Output(name="y", unit="m")),
    )
    rows = drive.time_s < until_s + clock_s
    out = config.stage(schema)(Readings.raw(schema, _stamps_ns(drive, 0.0)[rows], drive.range_m[rows]))
    place = slice(m, m + 2)
    track = Track(drive.time_s[rows] - clock_s, out.value[:, place])
    return Estimated(track, out.u[:, place].astype(np.float64))


def _stamps_ns(drive: Drive, clock_s: float) -> NDArray[np.int64]:
    return drive.start_ns + np.round((drive.time_s - clock_s) * 1e9).astype(np.int64)


def configure(folder: Path, drive: Drive, parameters: dict[str, Any], clock_s: float) -> Path:
    """Write the ranges (by the truth's clock) and an agent's configuration; the path of the latter."""
    with (folder / "ranges.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["time_ns", *NAMES])
        for stamp, ranges in zip(_stamps_ns(drive, clock_s).tolist(), drive.range_m.tolist(), strict=True):
            rows.writerow([stamp, *["" if shown != shown else shown for shown in ranges]])  # noqa: PLR0124 - NaN
    channels = "".join(f'\n[[stream.channel]]\nname = "{name}"\nunit = "m"\n' for name in NAMES)
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in parameters.items())
    path = folder / "agent.toml"
    path.write_text(f"""device = "tag"
state = "state"

[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

[[link]]
protocol = "coap"
host = "127.0.0.1"

[[stream]]
name = "uwb"

[stream.source]
type = "replay"
path = "ranges.csv"
time_format = "ns"
speed = "flat_out"
{channels}
[[stream.stage]]
type = "gross_range"
minimum = 0.0
maximum = 200.0

[[stream.stage]]
type = "estimate"
model = {json.dumps(str(MODEL))}
filter = "ekf"
channels = {json.dumps(NAMES)}

[stream.stage.parameters]
{table}
[[stream.stage.output]]
name = "x"
unit = "m"

[[stream.stage.output]]
name = "y"
unit = "m"

[[stream.stage.output]]
name = "speed"
unit = "m/s"
""")
    return path


def replay(drive: Drive, parameters: dict[str, Any], clock_s: float, folder: Path) -> Estimated:
    """The same through files, as `trueline-edge replay` does it: what a device would send."""
    config = load_config(configure(folder, drive, parameters, clock_s))
    out = folder / "judged.csv"
    replay_file(config, config.streams[0], folder / "ranges.csv", out)
    with out.open(newline="") as file:
        cells = [row for row in csv.DictReader(file) if row["channel"] in {"x", "y"}]
    number = np.array([[float(row["value"] or "nan"), float(row["u"] or "nan")] for row in cells]).reshape(-1, 2, 2)
    time_s = np.array([int(row["time_ns"]) - drive.start_ns for row in cells[::2]]) / 1e9
    return Estimated(Track(time_s, number[:, :, 0]), number[:, :, 1])


def score(drive: Drive, seen: Track | Estimated, start_s: float, stop_s: float, clock_s: float = 0.0) -> Score:
    """Against the truth at the track's own times, `clock_s` earlier."""
    track, u = (seen.track, seen.u_m) if isinstance(seen, Estimated) else (seen, None)
    rows = (track.time_s >= start_s) & (track.time_s < stop_s)
    error = track.xy_m[rows] - drive.truth.at(track.time_s[rows] - clock_s)
    rmse = float(np.sqrt((error**2).sum(axis=1).mean()))
    if u is None:
        return Score(rmse, np.nan, np.nan, int(rows.sum()))
    half = COVERAGE_FACTOR * u[rows]
    return Score(rmse, float((np.abs(error) <= half).mean()), float(half.mean()), int(rows.sum()))

"""Quality control of a really dirty recording: what must be flagged is flagged, and what is good is left alone.

    python benchmarks/cleaning.py --data DIR     # DIR/greenhouse_verona/Greenhouse_1/*.csv, see examples/greenhouse

Each file goes through `trueline-edge replay` as `examples/greenhouse/agent.toml` says. What is asked is worked out from
the files alone, by the rules below, which share no code with the stages:

* outside physics: a number outside the limits of its quantity (`PHYSICS`);
* duplicate time: a row whose time an earlier row of the file has; backward clock: a row older than the row before it;
* good: a number inside physics, in a row on a regular clock (later than every row before it, by no more than one and
  a half of the nominal 15 minutes), within 6 robust deviations (1.4826 times the median absolute deviation) of the
  median of its neighbours in that hour: of the readings, inside physics, of all other channels of the same quantity in
  the house. With fewer than 3 such readings nothing is called good.

Asked: all of the first three flagged (SUSPECT, FAIL or MISSING), and at most 0.5 % of the good.
Negative control: without the timing test, and without the range test, some of the first three are not flagged.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import _common
import msgspec
import numpy as np
import pyarrow.parquet as pq

from trueline_edge.config import load_config
from trueline_edge.replay import choose_stream, replay_file
from trueline_edge.stages import GrossRange, Timing
from trueline_wire.readings import Flag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.config import AgentConfig, StreamConfig

CONFIG = Path(__file__).parents[1] / "examples" / "greenhouse" / "agent.toml"
GOOD_FLAGGED_MAX = 0.005
INTERVAL_S = 900
NEIGHBOURS_MIN = 3
DEVIATIONS = 6.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PHYSICS = {
    "air": (-20.0, 60.0),  # Cel
    "plant": (-20.0, 60.0),  # Cel
    "soil": (-10.0, 60.0),  # Cel
    "par": (0.0, 2500.0),  # umol/m2/s; full sun is about 2,000
    "light": (0.0, 150_000.0),  # lx
    "rh": (0.0, 100.0),  # %
    "water": (0.0, 1.0),  # m3/m3
    "vwc": (0.0, 100.0),  # %
}
"""What a quantity can be in a greenhouse near Verona."""


class Recording(NamedTuple):
    """One file as it is: names and quantities of k channels, times (n,) in seconds, values (n, k), NaN for none."""

    stream: str
    quantities: list[str]
    time_s: NDArray[np.int64]
    value: NDArray[np.float64]


class Truth(NamedTuple):
    """(n, k) each: what must be flagged, and what must not."""

    outside: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    backward: NDArray[np.bool_]
    good: NDArray[np.bool_]


def read_recording(stream: StreamConfig, path: Path) -> Recording:
    """Read a file with nothing but the standard library."""
    source: Any = stream.source
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    time_column = int(source.time_column[1:]) - 1 if source.time_column[0] == "#" else header.index(source.time_column)
    columns = [int(channel.column[1:]) - 1 for channel in stream.channels]
    zone = ZoneInfo(source.zone)
    moments = [_read_time(row[time_column].strip(), source.time_format).replace(tzinfo=zone) for row in rows]
    return Recording(
        stream.name,
        [channel.name.rstrip("_1234") for channel in stream.channels],
        np.array([round((moment - EPOCH).total_seconds()) for moment in moments]),
        np.array([[float(row[column] or "nan") for column in columns] for row in rows]),
    )


def _read_time(text: str, time_format: str) -> datetime:
    return datetime.fromisoformat(text) if time_format == "iso" else datetime.strptime(text, time_format)  # noqa: DTZ007 - the caller knows the zone


def find_truth(recordings: list[Recording]) -> list[Truth]:
    """The rules in the module's docstring, for all files together: neighbours stand in other files too."""
    inside = [
        np.stack([_within(r.value[:, k], PHYSICS[quantity]) for k, quantity in enumerate(r.quantities)], axis=1)
        for r in recordings
    ]
    near = [np.zeros(r.value.shape, np.bool_) for r in recordings]
    for quantity in PHYSICS:
        places = [(f, k) for f, r in enumerate(recordings) for k, q in enumerate(r.quantities) if q == quantity]
        for f, k in places:
            others = [
                (recordings[g].time_s[inside[g][:, j]] // 3600, recordings[g].value[inside[g][:, j], j])
                for g, j in places
                if (g, j) != (f, k)
            ]
            if others:
                hours, values = (np.concatenate(column) for column in zip(*others, strict=True))
                near[f][:, k] = _near(recordings[f].time_s // 3600, recordings[f].value[:, k], hours, values)
    return [_truth(r, i, n) for r, i, n in zip(recordings, inside, near, strict=True)]


def _within(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])


def _truth(recording: Recording, inside: NDArray[np.bool_], near: NDArray[np.bool_]) -> Truth:
    time_s, there = recording.time_s, ~np.isnan(recording.value)
    duplicate = np.ones(len(time_s), np.bool_)
    duplicate[np.unique(time_s, return_index=True)[1]] = False
    backward = np.diff(time_s, prepend=time_s[0]) < 0
    newest = np.maximum.accumulate(time_s)
    ahead = np.diff(time_s, prepend=time_s[0] - INTERVAL_S)
    ahead[1:] = time_s[1:] - newest[:-1]
    regular = (ahead > 0) & (ahead <= 1.5 * INTERVAL_S)
    return Truth(
        there & ~inside, there & duplicate[:, None], there & backward[:, None], inside & near & regular[:, None]
    )


def _near(
    at: NDArray[np.int64], value: NDArray[np.float64], hours: NDArray[np.int64], others: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) is each value within so many robust deviations of the median of the others in its hour?"""
    known, which, counts = np.unique(hours, return_inverse=True, return_counts=True)
    median = _medians(which, others, counts)
    mad = _medians(which, np.abs(others - median[which]), counts)
    place = np.minimum(np.searchsorted(known, at), len(known) - 1)
    near: NDArray[np.bool_] = np.abs(value - median[place]) <= DEVIATIONS * 1.4826 * mad[place]
    near &= (known[place] == at) & (counts[place] >= NEIGHBOURS_MIN)
    return near


def _medians(which: NDArray[np.int64], values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of the values of each group."""
    ordered = values[np.lexsort((values, which))]
    starts = np.cumsum(counts) - counts
    middle: NDArray[np.float64] = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    return middle


def judge(config: AgentConfig, recording: Recording, path: Path, without: type | None = None) -> NDArray[np.bool_]:
    """(n, k) which values the agent's replay flags, with one kind of stage left out."""
    stream = choose_stream(config, recording.stream)
    stages = tuple(stage for stage in stream.stages if without is None or not isinstance(stage, without))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "judged.parquet"
        replay_file(config, msgspec.structs.replace(stream, stages=stages), path, out)
        flag = pq.read_table(out, columns=["flag"])["flag"].to_numpy()
    flagged: NDArray[np.bool_] = flag.reshape(recording.value.shape) > Flag.NOT_EVALUATED
    return flagged


def score(truths: list[Truth], flagged: list[NDArray[np.bool_]]) -> dict[str, int]:
    """How many there are of each kind, and how many of them are flagged."""
    counts: dict[str, int] = {}
    for kind in Truth._fields:
        masks = [getattr(truth, kind) for truth in truths]
        counts[kind] = sum(int(mask.sum()) for mask in masks)
        counts[kind + "_flagged"] = sum(int((mask & f).sum()) for mask, f in zip(masks, flagged, strict=True))
    return counts


def main() -> int:
    """Judge all files, and print what was asked beside what was found."""
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with greenhouse_verona")
    parser.add_argument("--quick", action="store_true", help="five of the loggers alone")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the dirtiest logger, before and after")
    args = parser.parse_args()
    config = load_config(CONFIG)
    streams = [s for s in config.streams if not args.quick or s.name.startswith(("temp", "trh", "micro_2"))]
    folder = args.data / "greenhouse_verona" / "Greenhouse_1"
    paths = [folder / stream.source.files[0].name for stream in streams]  # type: ignore[union-attr]  # all are replays
    recordings = [read_recording(stream, path) for stream, path in zip(streams, paths, strict=True)]
    truths = find_truth(recordings)
    together = list(zip(recordings, paths, strict=True))
    flagged = [judge(config, recording, path) for recording, path in together]
    for recording, truth, mask in zip(recordings, truths, flagged, strict=True):
        _common.say(f"{recording.stream:12} {_line(score([truth], [mask]))}")
    counts = score(truths, flagged)
    share = counts["good_flagged"] / max(counts["good"], 1)
    result: dict[str, Any] = {
        "files": len(recordings),
        "readings": sum(int((~np.isnan(r.value)).sum()) for r in recordings),
        **counts,
        "good_flagged_share": round(share, 6),
        "good_flagged_share_max": GOOD_FLAGGED_MAX,
    }
    misses = [
        f"{counts[kind] - counts[kind + '_flagged']} of {counts[kind]} {kind} readings are not flagged"
        for kind in ("outside", "duplicate", "backward")
        if counts[kind + "_flagged"] < counts[kind]
    ]
    if share > GOOD_FLAGGED_MAX:
        misses.append(f"{100 * share:.3f} % of the good readings are flagged: at most {100 * GOOD_FLAGGED_MAX} %")
    for name, stage, kinds in (
        ("timing", Timing, ("duplicate", "backward")),
        ("gross_range", GrossRange, ("outside",)),
    ):
        control = score(truths, [judge(config, recording, path, stage) for recording, path in together])
        for kind in kinds:
            result[f"{kind}_flagged_without_{name}"] = control[kind + "_flagged"]
            if control[kind + "_flagged"] == control[kind]:
                misses.append(f"negative control: without {name} all {kind} readings are flagged all the same")
    if args.plot:
        dirtiest = max(range(len(truths)), key=lambda f: int(truths[f].outside.sum()))
        draw(recordings[dirtiest], flagged[dirtiest], args.plot)
    return _common.finish(result, misses, as_json=args.json)


def _line(counts: dict[str, int]) -> str:
    return "  ".join(f"{kind} {counts[kind + '_flagged']}/{counts[kind]}" for kind in Truth._fields)


def draw(recording: Recording, flagged: NDArray[np.bool_], path: Path) -> None:
    """The recording as it came, and what of it is not flagged."""
    import matplotlib as mpl  # noqa: PLC0415 - only where a picture is wanted

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

    times = recording.time_s.astype("datetime64[s]")
    figure, (before, after) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for k in range(recording.value.shape[1]):
        before.plot(times, recording.value[:, k], ".", markersize=1)
        after.plot(
            times, np.where(flagged[:, k], np.nan, recording.value[:, k]), ".", markersize=1, label=f"air {k + 1}"
        )
    before.set(title=f"{recording.stream}: as recorded", ylabel="°C")
    before.set_yscale("symlog", linthresh=60)  # what air can be, linear
    after.set(title="not flagged", ylabel="°C")
    after.legend(markerscale=8, ncols=4, loc="upper center", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=58)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())

"""`trueline-sim plot`: pictures of a recording, so that somebody looks at it, a real channel beside it.

Promises: what is drawn is what was recorded: truth, raw readings, the band of the declared uncertainty, and every label
with its kind. Refuses to judge likeness: `benchmarks/realism.py` measures it.
"""

from __future__ import annotations

import csv
import itertools
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trueline_sim.score.join import Recording, Spans

    Array = NDArray[np.float64]

__all__ = ["RealChannel", "add_plot", "plot_channel", "read_real"]

_ROWS_MAX: Final = 20_000
_DPI: Final = 110
_FRACTION: Final = 0.9
_SAMPLE: Final = 4096
_DELIMITERS: Final = ";,\t"
_SPANS_NAMED: Final = 12


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Arguments of `plot`."""
    parser.description = "Draws a recording: truth, raw readings, the band of the uncertainty, labels; a PNG a channel."
    parser.add_argument("recording", type=Path, metavar="DIR", help="of `record`")
    parser.add_argument("--device", metavar="D", help="which (the one with most labels)")
    parser.add_argument("--channel", action="append", metavar="C", help="which, may be given again (all)")
    parser.add_argument("--hours", type=float, metavar="H", help="only the first hours (all)")
    parser.add_argument(
        "--real", metavar="CSV:COLUMN", help="a real channel, drawn beside: the same number of rows, the same scale"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the PNGs go")
    parser.set_defaults(run=_plot)


@dataclass(frozen=True, slots=True)
class RealChannel:
    """A column of a file of real readings.

    Attributes:
        title: file and column.
        value: (n,) in the order of the file.
        interval_s: median time between rows; None where no time can be read.
    """

    title: str
    value: Array
    interval_s: float | None


def read_real(text: str, rows_max: int = _ROWS_MAX) -> RealChannel:
    """Read "FILE:COLUMN"; the delimiter is found, and the time in the first column named after time or date.

    Raises:
        ConfigError: no such file, or no such column.
    """
    path, colon, column = text.rpartition(":")
    if not colon:
        raise ConfigError(f"--real {text}: FILE:COLUMN is wanted")
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            dialect = csv.Sniffer().sniff(file.read(_SAMPLE), delimiters=_DELIMITERS)
            file.seek(0)
            rows = csv.DictReader(file, dialect=dialect)
            names = list(rows.fieldnames or [])
            clock = next((name for name in names if "time" in name.casefold() or "date" in name.casefold()), None)
            if column not in names:
                raise ConfigError(f"--real {text}: no column {column!r}; there are {', '.join(names)}")
            taken = [(row[clock] if clock else "", row[column]) for row in itertools.islice(rows, rows_max)]
    except (OSError, csv.Error) as error:
        raise ConfigError(f"--real {text}: {error}") from error
    times = [_moment(time) for time, _ in taken]
    known = [time for time in times if time is not None]
    interval_s = float(np.median(np.diff(known))) if len(known) > 1 and len(known) == len(times) else None
    return RealChannel(f"{Path(path).name}, {column}", np.array([_number(cell) for _, cell in taken]), interval_s)


def _moment(text: str) -> float | None:
    for form in (None, "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M"):
        try:
            moment = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    number = _number(text)
    return None if np.isnan(number) else number


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")


def _plot(arguments: argparse.Namespace) -> int:
    from trueline_sim.score.join import Recording  # noqa: PLC0415 - after the extras were looked for

    recording = Recording(arguments.recording)
    device = arguments.device or _busiest(recording)
    if device not in recording.devices:
        raise ConfigError(f"--device {device}: the recording has {', '.join(list(recording.devices)[:5])} …")
    channels = arguments.channel or list(recording.channels)
    if strange := sorted(set(channels) - set(recording.channels)):
        raise ConfigError(f"--channel {', '.join(strange)}: the recording has {', '.join(recording.channels)}")
    real = read_real(arguments.real) if arguments.real else None
    arguments.out.mkdir(parents=True, exist_ok=True)
    for channel in channels:
        out = arguments.out / f"{recording.manifest['scenario']}-{device}-{channel}.png"
        plot_channel(recording, device, channel, out, hours=arguments.hours, real=real)
        sys.stdout.write(f"{out}\n")
    return 0


def _busiest(recording: Recording) -> str:
    counts = np.bincount(recording.labels.device, minlength=len(recording.devices))
    names: list[str] = list(recording.devices)
    return names[int(counts.argmax())]


def plot_channel(
    recording: Recording,
    device: str,
    channel: str,
    out: Path,
    *,
    hours: float | None = None,
    real: RealChannel | None = None,
) -> None:
    """Draw a channel of a device.

    Args:
        recording: to draw.
        device: by name.
        channel: by name.
        out: a .png.
        hours: only the first so many.
        real: drawn below.
    """
    from trueline_sim.score import charts  # noqa: PLC0415 - slow, and only drawings need it

    number, manifest = recording.devices[device], recording.manifest
    base = recording.base(number, number + 1)
    truth, raw = recording.values(base, channel)
    spans = recording.spans(base, number, number + 1)
    spans = spans.where((spans.channel == channel) | (spans.channel == ""))
    count = len(base) if hours is None else int(np.searchsorted(base.step, hours * 3600 / manifest["interval_s"]))
    if not count:
        raise ConfigError(f"{device} reported nothing in that time")
    entry = recording.channels[channel]
    drawn, axes = charts.figure(2 if real else 1, 1, width=12.0, height=6.2 if real else 3.8)
    axis, when = axes[0, 0], charts.dates(base.time_true_ns[:count])
    truth, raw, u = truth[:count], raw[:count], entry["u_declared"]
    axis.fill_between(when, truth - u, truth + u, color="#cfdcec", linewidth=0, label=f"truth ± u ({u:.3g})")
    marker = {"marker": ".", "markersize": 2.5} if count < 2000 else {}  # noqa: PLR2004 - single readings can be seen
    axis.plot(when, raw, color=charts.ORANGE, linewidth=0.7, label=f"raw, {entry['sensor']}", **marker)
    axis.plot(when, truth, color=charts.BLUE, linewidth=1.0, label="truth")
    _label_spans(axis, spans, when, charts)
    title = f"{manifest['scenario']}, seed {manifest['seed']}, {device}: {channel}, every {manifest['interval_s']:g} s"
    axis.set(title=title, ylabel=entry["unit"], xlim=(when[0], when[-1]), ylim=_limits(truth, raw))
    axis.xaxis.set_major_formatter(charts.date_format(axis))
    axis.legend(loc="upper right", bbox_to_anchor=(1.0, 1.12), ncols=3)
    if real:
        value = real.value[:count]
        every = f", every {real.interval_s:g} s" if real.interval_s else ""
        axes[1, 0].plot(value, color="#222222", linewidth=0.7, **marker)
        axes[1, 0].set(title=f"real: {real.title}{every}", xlabel="row", xlim=(0, max(count, len(value)) - 1))
    drawn.savefig(out, dpi=_DPI)


def _limits(truth: Array, raw: Array) -> tuple[float, float]:
    """Truth in the middle; a fault that shouts is cut rather than the truth made a line."""
    low, high = float(truth.min()), float(truth.max())
    some = raw[np.isfinite(raw)]
    around = np.quantile(some, [0.02, 0.98]) if len(some) else [low, high]
    reach = max(high - low, 1e-9)
    bottom, top = max(min(around[0], low), low - reach), min(max(around[1], high), high + reach)
    room = 0.12 * (top - bottom)
    return float(bottom - room), float(top + room)


def _label_spans(axis: Any, spans: Spans, when: Sequence[datetime], charts: Any) -> None:
    """Spans as bands with their kind written at the top, process anomalies apart."""
    heights = _heights()
    for number in range(len(spans.kind)):
        first, end = int(spans.first[number]), int(spans.end[number])
        if first >= len(when):
            continue
        begin, until = when[first], when[min(max(end, first + 1), len(when) - 1)]
        colour = charts.GREY if spans.is_process[number] else charts.RED
        axis.axvspan(begin, until, color=colour, alpha=0.13, linewidth=0)
        axis.axvline(begin, color=colour, linewidth=0.6, alpha=0.7)
        if number < _SPANS_NAMED:
            kind = ("process: " if spans.is_process[number] else "") + str(spans.kind[number])
            height = next(heights)
            right = first > _FRACTION * len(when)
            axis.text(
                begin,
                height,
                f"{kind} " if right else f" {kind}",
                transform=axis.get_xaxis_transform(),
                color=colour,
                fontsize=7.5,
                va="top",
                ha="right" if right else "left",
            )


def _heights() -> Iterator[float]:
    """One below the other, so that names of neighbours do not lie on each other."""
    return itertools.cycle([0.99, 0.94, 0.89, 0.84])

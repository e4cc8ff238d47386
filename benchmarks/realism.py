"""Do simulated channels look like real ones? Distances in five respects, beside yardsticks from the same run.

For each real channel (SKAB's anomaly-free run, a greenhouse near Verona, EPA's air sensors) 48 devices of the matching
scenario are simulated for as long, at the same rate, and seen through a sensor of that channel's resolution and noise.
Resolution and noise are read off a *calibration* stretch of the real channel; distances are to another stretch.

    spectrum     dB, root mean square difference of spectra over parts of an octave, each at variance 1
    memory       root mean square difference of autocorrelation over lags evenly spaced in their logarithm
    increments   first Wasserstein distance of steps from sample to sample, over the real steps' standard deviation
    repeats      difference of the share of steps that are exactly 0
    grid         difference of log10 of the number of distinct values

`typical` is the median device of all drawn; `twin` the one device nearest to the real one, over all channels and the
first three respects. The yardsticks: `real` is the channel at another time or from another unit (the floor); `noise`
and `sine` are white noise and a sine of the real mean, spread and grid, as naive simulators send (negative controls).

    benchmarks/realism.py --data ../shared/data [--json] [--plots DIR] [--page docs/realism.md]

Bounds: in spectrum, memory and increments the twin is nearer than the better of noise and sine, mean over channels.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from _common import finish, parser, say
from scipy.signal import welch
from scipy.stats import wasserstein_distance

from trueline_sim.sensors.bank import SensorBank
from trueline_sim.sensors.model import SensorModel
from trueline_sim.truth import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SEED = 20
DAY_S = 86_400
RESPECTS = ("spectrum", "memory", "increments", "repeats", "grid")
BOUNDED = ("spectrum", "memory", "increments")
RESTLESS = {"current", "voltage", "vibration_1", "vibration_2", "flow", "light"}
"""Channels whose quick fluctuation is the scenario's own: their sensor adds its grid only."""
WHOLE, MOST = 0.05, 0.9
WITNESSES = ("typical", "twin", "real", "noise", "sine")


class Pair(NamedTuple):
    """A real channel: what to resemble, and another stretch or unit of it (calibration, and the floor)."""

    real: Array
    other: Array


OPENING = """# How real the simulators are

Written by `benchmarks/realism.py`; do not edit. Distances of simulated from real channels, 0 being alike; what each
means is on top of that file. `typical`: the median of all devices, drawn from the scenario's whole ranges. `twin`: the
one of them that is nearest over all channels. `real`: the channel at another time or from another unit, as near as one
can ask. `noise`, `sine`: what naive simulators send. No parameter was fitted to a channel, but the ranges were drawn
up, and mended, while looking at these data: the distances say how like, not how general. The sensor has the resolution
and noise of the channel in another stretch. With `--plots DIR` the script draws real beside simulated.

Known to be unlike: the noise of EPA's NO2 cells grows with the heat of their case, ours does not; real PM2.5 has bursts
of some minutes at night, real gases and temperature are more restless within the hour; SKAB's bench has single dips of
vibration, and its current is lopsided towards low values; near Verona somebody waters every morning.
"""


@dataclass(frozen=True)
class Place:
    """A data set and the scenario that should resemble it."""

    name: str
    scenario: str
    interval_s: float
    start: datetime
    period_s: float
    channels: dict[str, Pair]


# ---------------------------------------------------------------- real channels


def skab(data: Path) -> Place:
    """The anomaly-free run at 1 Hz: its second half, and its first as the other."""
    with (data / "skab" / "anomaly-free" / "anomaly-free.csv").open(encoding="utf-8") as file:
        rows = np.array([[float(cell) for cell in row[1:]] for row in list(csv.reader(file, delimiter=";"))[1:]])
    names = ("vibration_1", "vibration_2", "current", "pressure")
    names += ("motor_temperature", "fluid_temperature", "voltage", "flow")
    half = len(rows) // 2
    channels = {name: Pair(rows[half:, k], rows[:half, k]) for k, name in enumerate(names)}
    return Place("skab", "water_loop", 1.0, datetime(2020, 2, 8, 14, 50, tzinfo=UTC), 600.0, channels)


def epa(data: Path) -> Place:
    """Ten days of August 2019 by the minute from one unit; the next ten days of another unit as the other."""
    names = ("no2", "o3", "pm2_5", "temperature", "humidity")

    def unit(number: int, first_day: int) -> Array:
        path = data / "epa_toco_toucan" / f"toco_toucan_RT0{number}_raw.csv"
        lines = [line.split(",") for line in path.read_text("utf-8-sig").splitlines()]
        rows = [line[1:6] for line in lines if len(line) > 6 and line[0][:1].isdigit()]
        found = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
        return mended(found[first_day * 1440 : (first_day + 10) * 1440])

    one, two = unit(2, 1), unit(3, 12)
    channels = {name: Pair(one[:, k], two[:, k]) for k, name in enumerate(names)}
    return Place("epa_toco_toucan", "air_quality", 60.0, datetime(2019, 8, 2, 12, tzinfo=UTC), DAY_S, channels)


def verona(data: Path) -> Place:
    """Four weeks from 19 August 2021 by the quarter hour; beside each channel another unit, or earlier weeks."""
    folder = data / "greenhouse_verona" / "Greenhouse_1"
    late, early = datetime(2021, 8, 19, tzinfo=UTC), datetime(2021, 6, 24, tzinfo=UTC)

    def read(name: str, column: int, when: int, start: datetime, scale: float = 1.0) -> Array:
        with (folder / f"{name}.csv").open(encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))[1:]
        seconds, values = [], []
        for row in rows:
            form = "%d/%m/%Y %H:%M:%S" if "/" in row[when] else "%Y-%m-%d %H:%M:%S"
            stamp = datetime.strptime(row[when] + "+0000", f"{form}%z")
            seconds.append((stamp - start) / timedelta(seconds=1))
            values.append(float(row[column] or "nan"))
        grid = np.full(28 * 96, np.nan)
        at = np.rint(np.array(seconds) / 900).astype(int)
        inside = (at >= 0) & (at < len(grid))
        grid[at[inside]] = np.array(values)[inside] * scale
        return mended(grid[:, np.newaxis])[:, 0]

    channels = {
        "air_temperature": Pair(read("TRH_1", 2, 1, late), read("TRH_2", 2, 1, late)),
        "humidity": Pair(read("TRH_1", 3, 1, late), read("TRH_2", 3, 1, late)),
        "light": Pair(read("Ref_PAR", 0, 1, early, 1000.0), read("Ref_PAR", 0, 1, early + timedelta(28), 1000.0)),
        "soil_temperature": Pair(read("Micro_2", 2, 1, late), read("Ref_SoilTemp", 0, 1, early)),
        "soil_moisture": Pair(read("Micro_1", 5, 1, late), read("Micro_2", 5, 1, late)),
    }
    return Place("greenhouse_verona", "greenhouse", 900.0, late, DAY_S, channels)


def mended(values: Array) -> Array:
    """Missing values take the last one: (n, k)."""
    for column in values.T:
        known = np.flatnonzero(np.isfinite(column))
        if not len(known):
            raise ValueError("a channel without one value")
        latest = known[np.maximum(np.searchsorted(known, np.arange(len(column)), side="right") - 1, 0)]
        column[:] = column[latest]
    return values


# ---------------------------------------------------------------- distances


def spectrum_db(values: Array) -> Array:
    """Power spectrum in 24 parts evenly spaced in the logarithm of frequency, of the series at variance 1, dB."""
    spread = values.std()
    scaled = (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
    frequency, power = welch(scaled, nperseg=min(len(values), 2048), detrend="linear")
    edges = np.geomspace(frequency[1], frequency[-1] * 1.001, 25)
    part = np.digitize(frequency[1:], edges) - 1
    sums = np.array([power[1:][part == k].mean() if (part == k).any() else np.nan for k in range(24)])
    return np.asarray(10 * np.log10(np.maximum(sums, 1e-9)))


def memory(values: Array) -> Array:
    """Autocorrelation at 24 lags from 1 to an eighth of the series."""
    n = 2 * len(values)
    centred = values - values.mean()
    full = np.fft.irfft(np.abs(np.fft.rfft(centred, n)) ** 2, n)
    lags = np.unique(np.geomspace(1, len(values) // 8, 24).astype(int))
    return np.asarray(full[lags] / max(full[0], 1e-30))


def distances(real: Array, seen: Array) -> dict[str, float]:
    """How far `seen` is from `real`, in each respect."""
    dreal, dseen = np.diff(real), np.diff(seen)
    return {
        "spectrum": float(np.sqrt(np.nanmean((spectrum_db(seen) - spectrum_db(real)) ** 2))),
        "memory": float(np.sqrt(np.mean((memory(seen) - memory(real)) ** 2))),
        "increments": float(wasserstein_distance(dseen, dreal) / dreal.std()),
        "repeats": float(abs((dseen == 0).mean() - (dreal == 0).mean())),
        "grid": float(abs(np.log10(len(np.unique(seen)) / len(np.unique(real))))),
    }


# ---------------------------------------------------------------- simulated channels


def grid_of(values: Array) -> float:
    """The step between neighbouring values.

    Most steps from sample to sample are whole multiples of it; else (nearly continuous) the gap of distinct values.
    """
    moves = np.abs(np.diff(values))
    moves = moves[moves > 0]
    for share in (0.5, 0.25, 0.1, 0.05):
        least = float(np.quantile(moves, share)) if len(moves) else np.inf
        if np.mean(np.abs(moves / least - np.rint(moves / least)) < WHOLE) > MOST:
            return least
    gaps = np.diff(np.unique(values))
    return float(np.quantile(gaps, 0.25)) if len(gaps) else 0.0


def noise_of(values: Array) -> float:
    """Standard deviation of white noise in quiet times, from third differences (variance 20: slow change cancels)."""
    third = np.diff(values, 3)
    pieces = third[: len(third) // 32 * 32].reshape(-1, 32)
    return float(np.sqrt(np.median((pieces**2).mean(axis=1)) / 20.0))


def look(place: Place, name: str, truth: Array) -> Array:
    """Truth through a sensor of the real channel's grid and noise, both from its other stretch."""
    other = place.channels[name].other
    step = grid_of(other)
    noise = max(noise_of(other) ** 2 - step**2 / 12, 0.0) ** 0.5
    share = 0.0 if name in RESTLESS else 0.9
    low, high = (0.0, 100.0) if name == "humidity" else (0.0, 1e9) if name == "light" else (-1e9, 1e9)
    model = SensorModel(
        part=place.name, quantity=name, unit="", source="the real channel", range_low=low, range_high=high,
        resolution=step, noise_density=share * noise,
    )  # fmt: skip
    bank = SensorBank(model, devices=truth.shape[1], seed=SEED, name=name, interval_s=place.interval_s)
    return bank.observe(truth)


def simulate(place: Place, devices: int) -> dict[str, Array]:
    """The place's channels of so many devices, (n, devices) each."""
    scenario = SCENARIOS[place.scenario]
    start_ns = int(place.start.timestamp()) * 1_000_000_000
    process = scenario.start(devices=devices, seed=SEED, start_ns=start_ns, interval_s=place.interval_s)
    steps = max(len(pair.real) for pair in place.channels.values())
    truth = process.advance(steps)
    names = [each.name for each in scenario.measurands]
    return {name: look(place, name, truth[..., names.index(name)]) for name in place.channels}


def naive(place: Place, name: str) -> dict[str, Array]:
    """White noise and a sine of the real mean and spread, on the real grid."""
    real, step = place.channels[name].real, grid_of(place.channels[name].other)
    time = np.arange(len(real)) * place.interval_s
    made = {
        "noise": real.mean() + real.std() * np.random.default_rng(SEED).standard_normal(len(real)),
        "sine": real.mean() + real.std() * 2**0.5 * np.sin(2 * np.pi * time / place.period_s),
    }
    return {kind: np.round(values / step) * step if step else values for kind, values in made.items()}


def compare(place: Place, devices: int) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, Array], int]:
    """Distances by channel, witness and respect; the simulated channels; and which device is the twin."""
    seen = simulate(place, devices)
    every = {
        name: [
            distances(place.channels[name].real, seen[name][: len(place.channels[name].real), d])
            for d in range(devices)
        ]
        for name in seen
    }
    table: dict[str, dict[str, dict[str, float]]] = {}
    score = np.zeros(devices)
    for name, (real, other) in place.channels.items():
        controls = {kind: distances(real, values) for kind, values in naive(place, name).items()}
        table[name] = {"real": distances(real, other[: len(real)]), **controls}
        for respect in BOUNDED:
            worst = max(min(control[respect] for control in controls.values()), 1e-9)
            score += np.minimum([each[respect] / worst for each in every[name]], 3.0)
    twin = int(score.argmin())
    for name, found in every.items():
        table[name]["twin"] = found[twin]
        table[name]["typical"] = {respect: float(np.median([each[respect] for each in found])) for respect in RESPECTS}
    return table, seen, twin


# ---------------------------------------------------------------- telling


def plot(place: Place, seen: dict[str, Array], twin: int, folder: Path) -> None:
    """Real beside simulated: the whole stretch, a part of it, and the spectra. To a PNG in the folder."""
    import matplotlib as mpl  # noqa: PLC0415 - only whoever wants plots

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(len(seen), 5, figsize=(26, 3.0 * len(seen)), squeeze=False)
    part = round(2 * DAY_S / place.interval_s) if place.period_s >= DAY_S else 300
    for row, (name, values) in zip(axes, seen.items(), strict=True):
        real = place.channels[name].real
        mine = values[: len(real), twin]
        first = len(real) // 3
        for axis, series, title in zip(row[:4], (real, mine, real, mine), ("real", "simulated") * 2, strict=True):
            whole = axis in row[:2]
            axis.plot(series if whole else series[first : first + part], lw=0.6)
            axis.set_title(f"{name}: {title}{'' if whole else ', a part'}")
        row[4].plot(spectrum_db(real), label="real")
        row[4].plot(spectrum_db(mine), label="simulated")
        row[4].plot(spectrum_db(place.channels[name].other), ":", label="real, another time or unit")
        row[4].set_title(f"{name}: spectrum, dB")
        row[4].legend()
    figure.tight_layout()
    figure.savefig(folder / f"{place.name}.png", dpi=50)
    plt.close(figure)


def page(tables: dict[str, dict[str, dict[str, dict[str, float]]]], means: dict[str, dict[str, float]]) -> str:
    """docs/realism.md."""
    units = {"spectrum": "dB", "memory": "", "increments": "sd", "repeats": "share", "grid": "log10"}
    lines = [
        *OPENING.splitlines(),
        "",
        "## Mean over channels",
        "",
        "| | " + " | ".join(WITNESSES) + " |",
        "|---|" + "---:|" * len(WITNESSES),
    ]
    for respect in RESPECTS:
        cells = " | ".join(f"{means[respect][witness]:.2f}" for witness in WITNESSES)
        lines.append(f"| {respect} {units[respect]} | {cells} |")
    for name, table in tables.items():
        lines += ["", f"## {name}", "", "| channel | respect | " + " | ".join(WITNESSES) + " |"]
        lines.append("|---|---|" + "---:|" * len(WITNESSES))
        for channel, rows in table.items():
            for respect in RESPECTS:
                cells = " | ".join(f"{rows[witness][respect]:.2f}" for witness in WITNESSES)
                lines.append(f"| {channel} | {respect} | {cells} |")
    return "\n".join(line.replace("  |", " |") for line in lines) + "\n"


def main() -> int:
    """Compare, tell, plot."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of recorded data")
    arguments.add_argument("--plots", type=Path, help="folder for PNGs of real beside simulated")
    arguments.add_argument("--page", type=Path, help="write the tables there, as Markdown")
    arguments.add_argument("--devices", type=int, default=48, help="how many are drawn for each place")
    args = arguments.parse_args()
    readers: tuple[Callable[[Path], Place], ...] = (skab, verona, epa)
    tables = {}
    for read in readers:
        place = read(args.data)
        tables[place.name], seen, twin = compare(place, args.devices)
        say(f"{place.name}: device {twin} of {args.devices} is nearest")
        if args.plots:
            plot(place, seen, twin, args.plots)
    rows = [row for table in tables.values() for row in table.values()]
    means = {r: {w: float(np.mean([row[w][r] for row in rows])) for w in WITNESSES} for r in RESPECTS}
    if args.page:
        args.page.write_text(page(tables, means), encoding="utf-8")
    result: dict[str, Any] = {f"{r}_{w}": round(means[r][w], 3) for r in RESPECTS for w in WITNESSES}
    misses = []
    for respect in BOUNDED:
        least = float(np.mean([min(row["noise"][respect], row["sine"][respect]) for row in rows]))
        result[f"{respect}_naive_best"] = round(least, 3)
        if means[respect]["twin"] >= least:
            misses.append(f"{respect}: the twin's {means[respect]['twin']:.2f}, a naive simulator's {least:.2f}")
    return finish(result, misses, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())

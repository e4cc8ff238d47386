"""`trueline-cloud train`: from what the store or a folder holds to a signed package and its report.

Promises: a training that was stopped goes on where it was when the same command is given again; package and report
appear under their names when they are whole, and a version is never written twice; an alarm that the recordings cannot
support is refused before anything is trained. TensorFlow is loaded where a network is wanted, and not before.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import msgspec

from trueline_cloud.learning.choose import Choice, choose
from trueline_cloud.learning.dataset import split
from trueline_cloud.learning.files import next_version, recordings_of, say, write_whole
from trueline_cloud.learning.made import GAP_ROWS, Budget, Made, join, make_recipe
from trueline_cloud.learning.options import parse_numbers, parse_rate
from trueline_cloud.learning.pack import measured, pack, refused
from trueline_cloud.learning.settings import TrainSettings
from trueline_model.alarm import Alarm
from trueline_model.package import write_package
from trueline_model.selection import candidates, standing
from trueline_model.series import between
from trueline_wire.errors import ConfigError
from trueline_wire.keys import SigningKey

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trueline_cloud.learning.pack import Packed
    from trueline_cloud.learning.settings import Epoch
    from trueline_model.series import Series

__all__ = ["run"]


class Summary(msgspec.Struct, frozen=True):
    """What was made."""

    package: str
    report: str
    model: str
    rows: int
    silent: str
    metrics: dict[str, float]


def run(options: argparse.Namespace, state: Path, parse_time: Callable[[str], int]) -> int:
    """Train, and say what came of it. Returns the exit code: 1 where the package raises no alarm.

    Raises:
        ConfigError: an option is wrong, or the recordings cannot carry a model.
    """
    alarm = _alarm(options)
    recordings = recordings_of(options, state, parse_time)
    series = [each.series for each in recordings]
    settings = TrainSettings(epochs_max=options.epochs, seed=options.seed)
    say(f"{sum(map(len, series)):,} rows of {len(series[0].channels)} channels in {len(series)} recordings")
    calibrate = split(series, GAP_ROWS).calibrate
    if options.alarms and (why := refused(alarm, calibrate)):
        raise ConfigError(f"--alarms {options.alarms}: {why}")
    tried: list[Choice] = []
    if options.network:
        choice = Choice(options.network.stem)
    else:
        tried = _tried(options, series, settings) if options.model == "auto" else []
        choice = tried[0] if tried else _named(options, len(series[0].channels), settings)
    version = next_version(options.out, options.name)
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / f"{options.name}-{version}.checkpoint.npz"
    made = _brought(options, series) if options.network else _made(choice, series, settings, checkpoint)
    source = str(options.data) if options.data else f"{options.device}/{options.stream}"
    metrics = measured(made, options.seed)
    packed = pack(made, recordings[0].units, options.name, version, source, alarm, metrics)
    if packed.silent and options.alarms:
        raise ConfigError(f"--alarms {options.alarms}: {packed.silent}")
    package = options.out / packed.package.manifest.file_name
    report = "" if options.no_report else _report(package.with_suffix(".html"), made, packed, tried)
    write_whole(package, write_package(packed.package, SigningKey.load_or_create(state / "cloud.key")))
    checkpoint.unlink(missing_ok=True)
    rows = made.detector.warm_up + 1 if made.brought else choice.rows
    summary = Summary(str(package), report, choice.name, rows, packed.silent, metrics)
    print(msgspec.json.encode(summary).decode() if options.json else _text(summary))  # noqa: T201 - a command prints
    return 1 if packed.silent else 0


def _report(file: Path, made: Made, packed: Packed, tried: Sequence[Choice]) -> str:
    from trueline_cloud.learning.report import page  # noqa: PLC0415 - drawing takes longer than a small training

    write_whole(file, page(made, packed, tried).encode())
    return str(file)


def _alarm(options: argparse.Namespace) -> Alarm:
    events, per_s = parse_rate(options.alarms or "1/week")
    if not 0.0 <= options.separation_s < math.inf:
        raise ConfigError(f"--separation-s {options.separation_s}: 0 or more")
    return Alarm(events=events, per_s=per_s, separation_s=options.separation_s)


def _tried(options: argparse.Namespace, series: Sequence[Series], settings: TrainSettings) -> list[Choice]:
    """What auto found, in all but the calibration part, which is not for choosing."""
    before = between(series, 0, round(0.85 * sum(map(len, series))))
    budget = Budget(options.budget_kb, options.budget_us)
    return choose([before], settings, budget, trials=options.trials, told=say)


def _named(options: argparse.Namespace, width: int, settings: TrainSettings) -> Choice:
    """The model that was asked for by name."""
    statistical = candidates(width)
    if options.model in statistical:
        return Choice(options.model)
    if options.model in candidates(2):
        raise ConfigError(f"--model {options.model} compares channels: there is one alone")
    from trueline_cloud.learning.zoo import ZOO  # noqa: PLC0415 - TensorFlow

    if options.model not in ZOO:
        raise ConfigError(f"--model {options.model!r}: there are auto, {', '.join([*statistical, *ZOO])}")
    return Choice(options.model, rows=options.rows or ZOO[options.model].rows, rate=settings.rate)


def _brought(options: argparse.Namespace, series: Sequence[Series]) -> Made:
    """The network of a file."""
    from trueline_cloud.learning.bring import make_brought  # noqa: PLC0415 - LiteRT

    centre, scale = parse_numbers(options.centre, "--centre"), parse_numbers(options.scale, "--scale")
    return make_brought(series, options.network, onnx2tf=options.onnx2tf, centre=centre, scale=scale)


def _made(choice: Choice, series: Sequence[Series], settings: TrainSettings, checkpoint: Path) -> Made:
    if not choice.rows:
        return make_recipe(series, choice.name, candidates(len(series[0].channels))[choice.name], settings.seed)
    from trueline_cloud.learning.fit import fit_network  # noqa: PLC0415 - TensorFlow

    fitted = fit_network(
        series,
        choice.network,
        msgspec.structs.replace(settings, rate=choice.rate),
        rows=choice.rows,
        judged=choice.judged,
        checkpoint=checkpoint,
        progress=_rounds(settings.epochs_max),
    )
    if not choice.joined:
        return Made(choice.name, fitted.detector, fitted.parts, fitted)
    return join(choice.name, fitted, standing(len(series[0].channels)), settings.seed)


def _rounds(rounds: int) -> Callable[[Epoch], None]:
    def told(epoch: Epoch) -> None:
        if sys.stderr.isatty():
            text = f"round {epoch.number + 1} of {rounds}: loss {epoch.loss:.4g}, validation {epoch.validation:.4g}"
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)  # noqa: T201 - progress

    return told


def _text(summary: Summary) -> str:
    metrics = summary.metrics
    size, latency = metrics["size_bytes"] / 1024, metrics["latency_us"]
    of = f"windows of {summary.rows} rows" if summary.rows else "no network"
    lines = [f"{summary.package}: {summary.model}, {of}, {size:.1f} KB, {latency:.1f} us each"]
    if "int8_difference" in metrics:
        lines.append(f"scores in int8 lie {metrics['int8_difference']:.1%} from those in float")
    if "injected_ap" in metrics:
        lost = f", {metrics['int8_loss']:+.1%} of it lost to int8" if "int8_loss" in metrics else ""
        found = metrics["injected_ap"]
        lines.append(f"trouble put into rows held back: average precision {found:.3f}{lost}")
    lines += [f"report: {summary.report}"] if summary.report else []
    return "\n".join(lines + ([f"it raises no alarm: {summary.silent}"] if summary.silent else []))

"""`trueline-cloud train`: from what the store or a folder holds to a signed package and its report.

Promises: a training that was stopped goes on where it was when the same command is given again; package and report
appear under their names when they are whole, and a version is never written twice.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from trueline_cloud.learning.files import next_version, recordings_of, say, write_whole
from trueline_cloud.learning.fit import fit_network
from trueline_cloud.learning.options import parse_rate
from trueline_cloud.learning.pack import measured, pack
from trueline_cloud.learning.report import page
from trueline_cloud.learning.search import Budget, Choice, search
from trueline_cloud.learning.train import Epoch, TrainSettings
from trueline_cloud.learning.zoo import ZOO
from trueline_model.alarm import Alarm
from trueline_model.package import write_package
from trueline_wire.errors import ConfigError
from trueline_wire.keys import SigningKey

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trueline_model.series import Series

__all__ = ["run"]


class Summary(msgspec.Struct, frozen=True):
    """What was made."""

    package: str
    report: str
    network: str
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
    tried = _tried(options, series, settings)
    choice = (
        tried[0] if tried else Choice(options.model, options.rows or _rows(options.model), "window", settings.rate, 0.0)
    )
    version = next_version(options.out, options.name)
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / f"{options.name}-{version}.checkpoint.npz"
    fitted = fit_network(
        series,
        choice.architecture,
        msgspec.structs.replace(settings, rate=choice.rate),
        rows=choice.rows,
        judged=choice.judged,
        checkpoint=checkpoint,
        progress=_rounds(options.epochs),
    )
    source = str(options.data) if options.data else f"{options.device}/{options.stream}"
    packed = pack(fitted, recordings[0].units, options.name, version, source, alarm, measured(fitted, options.seed))
    if packed.silent and options.alarms:
        raise ConfigError(f"--alarms {options.alarms}: {packed.silent}")
    package = options.out / packed.package.manifest.file_name
    report = package.with_suffix(".html")
    write_whole(report, page(fitted, packed, tried).encode())
    write_whole(package, write_package(packed.package, SigningKey.load_or_create(state / "cloud.key")))
    checkpoint.unlink(missing_ok=True)
    metrics = packed.package.manifest.metrics
    summary = Summary(str(package), str(report), choice.architecture, choice.rows, packed.silent, metrics)
    print(msgspec.json.encode(summary).decode() if options.json else _text(summary))  # noqa: T201 - a command prints
    return 1 if packed.silent else 0


def _alarm(options: argparse.Namespace) -> Alarm:
    events, per_s = parse_rate(options.alarms or "1/week")
    return Alarm(events=events, per_s=per_s)


def _tried(options: argparse.Namespace, series: Sequence[Series], settings: TrainSettings) -> list[Choice]:
    if options.model != "auto":
        _rows(options.model)
        return []
    rows = sum(map(len, series))
    before: list[Series] = []
    left = round(0.85 * rows)  # the calibration part is not for choosing
    for each in series:
        before += [each[:left]] if left > 0 else []
        left -= len(each)
    budget = Budget(options.budget_kb, options.budget_us)
    return search(before, settings, budget, trials=options.trials, told=lambda n, text: say(f"trial {n + 1}: {text}"))


def _rows(model: str) -> int:
    if model not in ZOO:
        raise ConfigError(f"--model {model!r}: there are auto, {', '.join(ZOO)}")
    return ZOO[model].rows


def _rounds(rounds: int) -> Callable[[Epoch], None]:
    def told(epoch: Epoch) -> None:
        if sys.stderr.isatty():
            text = f"round {epoch.number + 1} of {rounds}: loss {epoch.loss:.4g}, validation {epoch.validation:.4g}"
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)  # noqa: T201 - progress

    return told


def _text(summary: Summary) -> str:
    metrics = summary.metrics
    size, latency = metrics["size_bytes"] / 1024, metrics["latency_us"]
    lines = [
        f"{summary.package}: {summary.network}, windows of {summary.rows} rows, {size:.1f} KB, {latency:.1f} us each"
    ]
    lines.append(f"scores in int8 lie {metrics['int8_difference']:.1%} from those in float")
    if "injected_ap" in metrics:
        found, loss = metrics["injected_ap"], metrics["int8_loss"]
        lines.append(f"faults put into rows held back: average precision {found:.3f}, {loss:+.1%} of it lost to int8")
    lines.append(f"report: {summary.report}")
    return "\n".join(lines + ([f"it raises no alarm: {summary.silent}"] if summary.silent else []))

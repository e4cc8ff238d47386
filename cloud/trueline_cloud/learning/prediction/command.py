"""`trueline-cloud train --target | --life`: from recordings to a signed package that predicts, and its report.

Promises: package and report appear under their names when they are whole, and a version is never written twice. Each
recording is a unit; where there are fewer than ten, they are cut in time, with a gap no window or answer spans.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from trueline_cloud.learning.files import next_version, recordings_of, say, write_whole
from trueline_cloud.learning.manifest import interval_s_of
from trueline_cloud.learning.options import parse_duration_s
from trueline_cloud.learning.prediction.fit import fit_prediction
from trueline_cloud.learning.prediction.history import History, mean_ahead, remaining, stretches
from trueline_cloud.learning.prediction.pack import pack_prediction
from trueline_cloud.learning.prediction.report import page
from trueline_cloud.learning.train import TrainSettings
from trueline_model.package import write_package
from trueline_model.prediction import Feature, Prediction
from trueline_model.series import Series
from trueline_wire.errors import ConfigError
from trueline_wire.keys import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_cloud.learning.recordings import Recording

__all__ = ["run"]

_UNITS_MIN: Final = 10
_UNITS: Final = 20
_ROWS: Final = 32
_LIFE_UNITS: Final = {"rows": "1", "h": "h", "d": "d"}


class Summary(msgspec.Struct, frozen=True):
    """What was made."""

    package: str
    report: str
    target: str
    unit: str
    metrics: dict[str, float]


def run(options: argparse.Namespace, state: Path, parse_time: Callable[[str], int]) -> int:
    """Train, and say what came of it. Returns the exit code.

    Raises:
        ConfigError: an option is wrong, or the recordings cannot carry a prediction.
    """
    if bool(options.target) == bool(options.life) or (options.ahead and not options.target):
        raise ConfigError("say what to predict: --target COLUMN, with --ahead 1d or without, or --life rows|h|d")
    if options.alarms or options.model != "auto":
        raise ConfigError("--alarms and --model are of models that detect: one that predicts has one network, no alarm")
    recordings = recordings_of(_with_target(options), state, parse_time)
    histories, units, unit = (_to_the_end if options.life else _of_a_column)(options, recordings)
    recipe = _recipe(options, histories, unit)
    histories = _cut(histories, recipe, options)
    say(f"{sum(len(each.series) for each in histories):,} rows of {len({each.name for each in histories})} units")
    settings = TrainSettings(epochs_max=options.epochs, windows_max=4096, seed=options.seed)
    foretold = fit_prediction(histories, recipe, settings, told=say)
    version = next_version(options.out, options.name)
    source = str(options.data) if options.data else f"{options.device}/{options.stream}"
    package = pack_prediction(foretold, histories, units, options.name, version, source)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / package.manifest.file_name
    report = file.with_suffix(".html")
    write_whole(report, page(foretold, package.manifest).encode())
    write_whole(file, write_package(package, SigningKey.load_or_create(state / "cloud.key")))
    summary = Summary(str(file), str(report), recipe.target, recipe.unit, package.manifest.metrics)
    print(msgspec.json.encode(summary).decode() if options.json else _text(summary))  # noqa: T201 - a command prints
    return 0


def _with_target(options: argparse.Namespace) -> argparse.Namespace:
    """The options, with the target read beside the channels."""
    if not options.channels or not options.target or options.target in options.channels.split(","):
        return options
    return argparse.Namespace(**(vars(options) | {"channels": f"{options.channels},{options.target}"}))


def _to_the_end(
    options: argparse.Namespace, recordings: Sequence[Recording]
) -> tuple[list[History], tuple[str, ...], str]:
    """What is left of each unit; a recording that was cut where rows are missing is one unit still."""
    histories = []
    ends: dict[str, list[Recording]] = {}
    for each in recordings:
        ends.setdefault(_unit_of(each), []).append(each)
    for name, parts in ends.items():
        rows = sum(len(part.series) for part in parts)
        for part in parts:
            time_ns = part.series.time_ns
            left = remaining(time_ns, options.life)
            rows -= len(time_ns)
            last_ns = parts[-1].series.time_ns[-1]
            left += rows if options.life == "rows" else remaining(_pair(time_ns[-1], last_ns), options.life)[0]
            histories.append(History(name, part.series, left))
    return histories, recordings[0].units, options.unit or _LIFE_UNITS[options.life]


def _of_a_column(
    options: argparse.Namespace, recordings: Sequence[Recording]
) -> tuple[list[History], tuple[str, ...], str]:
    """A channel, now or later; an input only if it was named as one and lies ahead."""
    have = recordings[0].series.channels
    if options.target not in have:
        raise ConfigError(f"--target {options.target}: there are the channels {', '.join(have)}")
    at = have.index(options.target)
    named = bool(options.channels) and options.target in options.channels.split(",")
    if named and not options.ahead:
        raise ConfigError(f"--channels names the target {options.target} itself: it is known then, or say --ahead")
    inputs = [j for j in range(len(have)) if j != at or named]
    if not inputs:
        raise ConfigError(f"there is no channel but {options.target}: name it in --channels to predict it from itself")
    histories = []
    for each in recordings:
        series = each.series
        target = np.where(series.valid[:, at], series.value[:, at], np.nan)
        if options.ahead:
            ahead_s = parse_duration_s(options.ahead, "--ahead")
            target = mean_ahead(series.time_ns, series.value[:, at], series.valid[:, at], ahead_s)
        names = tuple(have[j] for j in inputs)
        seen = Series(series.time_ns, series.value[:, inputs], series.valid[:, inputs], names)
        histories.append(History(_unit_of(each), seen, target))
    units = tuple(recordings[0].units[j] for j in inputs)
    return histories, units, options.unit or recordings[0].units[at]


def _recipe(options: argparse.Namespace, histories: Sequence[History], unit: str) -> Prediction:
    channels = histories[0].series.channels
    forms = dict.fromkeys(channels, "level")
    for option in ("change", "ratio", "share"):
        for name in (getattr(options, option) or "").split(","):
            if name and name not in forms:
                raise ConfigError(f"--{option} {name}: there are the channels {', '.join(channels)}")
            forms |= {name: option} if name else {}
    if options.per and options.per not in channels:
        raise ConfigError(f"--per {options.per}: there are the channels {', '.join(channels)}")
    what = (
        "life left" if options.life else options.target + (f" over the next {options.ahead}" if options.ahead else "")
    )
    return Prediction(
        target=what,
        unit=unit,
        rows=options.rows or _ROWS,
        step_s=parse_duration_s(options.step, "--step") if options.step else 0.0,
        features=tuple(Feature(j, forms[name]) for j, name in enumerate(channels)),  # type: ignore[arg-type]  # three words
        origin=0.0,
        span=1.0,
        least=0.0 if options.life else None,
        most=options.most,
        per=channels.index(options.per) if options.per else None,
    )


def _cut(histories: list[History], recipe: Prediction, options: argparse.Namespace) -> list[History]:
    """Enough units; a life is never cut: its parts would not be units of their own."""
    names = {each.name for each in histories}
    if len(names) >= _UNITS_MIN or options.life:
        return histories
    interval_s = interval_s_of([each.series for each in histories])
    gap_s = recipe.rows * (recipe.step_s or interval_s)
    gap_s += parse_duration_s(options.ahead, "--ahead") if options.ahead else 0.0
    return [part for each in histories for part in stretches(each, -(-_UNITS // len(histories)), gap_s)]


def _unit_of(recording: Recording) -> str:
    return re.sub(r"#\d+$", "", recording.name)


def _pair(first_ns: int, last_ns: int) -> NDArray[np.int64]:
    return np.array([first_ns, last_ns], np.int64)


def _text(summary: Summary) -> str:
    metrics = summary.metrics
    size, latency = metrics["size_bytes"] / 1024, metrics["latency_us"]
    lines = [f"{summary.package}: {summary.target} in {summary.unit}, {size:.1f} KB, {latency:.1f} us a window"]
    rmse, mean = metrics["rmse"], metrics["always_the_mean_rmse"]
    whole = metrics["rmse_float"]
    lines.append(f"units not learnt from: RMSE {rmse:.3g} (in float {whole:.3g}, always the mean {mean:.3g})")
    for coverage in ("90", "95"):
        if f"coverage_{coverage}" in metrics:
            held, width = metrics[f"coverage_{coverage}"], metrics[f"width_{coverage}"]
            lines.append(f"their intervals for {coverage} % held {held:.1%} of truths, {width:.3g} wide")
    return "\n".join([*lines, f"report: {summary.report}"])

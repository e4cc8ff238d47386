"""From a configuration and a recording to a file of noises, and files of versions.

Promises: the recording goes through the very stages that stand before the one that is tuned; what is written is read
back by `noise = "given", file = …`, or by `file` and `version` of a stage `self_calibrate`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trueline_edge.replay import choose_stream
from trueline_edge.sources import ReplayConfig
from trueline_edge.stages import Fuse, SelfCalibrate
from trueline_edge.stages.fusion.aligning import Aligning
from trueline_edge.stages.stage import usable
from trueline_edge.tuning.likelihood import Fit, fit_noise
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.config import AgentConfig, StreamConfig
    from trueline_edge.stages.fuse import FuseOutput
    from trueline_edge.tuning.likelihood import Model

__all__ = ["Tuned", "TunedOutput", "tune"]

_ROWS_MAX = 4096
_FITTED: tuple[Model, ...] = ("level", "trend", "daily")


class TunedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One output of a stage `fuse`, or one stage `self_calibrate`.

    Attributes:
        name: of it.
        file: where it was written.
        gain: log likelihood for each later reading, above that of the first guess.
        nis: of the later readings, mean; 1 where the noises are right.
        readings: later readings.
        noise: what was found, by name.
    """

    name: str
    file: str
    gain: float = 0.0
    nis: float = 1.0
    readings: int = 0
    noise: dict[str, Any] = msgspec.field(default_factory=dict)


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """All that was written, from so many rows; rows that could not be read are `lost`, by reason."""

    stream: str
    rows: int
    lost: dict[str, int]
    outputs: tuple[TunedOutput, ...]


def tune(config: AgentConfig, name: str | None, recording: Path, out: Path) -> Tuned:
    """Fit every stage `fuse` of a stream that models a process, and run every stage `self_calibrate`.

    Args:
        config: of the agent.
        name: of the stream; None where there is but one.
        recording: the CSV file.
        out: the file of noises to write; versions go to `NAME.versions.toml` beside it.

    Raises:
        ConfigError: nothing to tune, a recording that does not fit, or a file that cannot be written.
    """
    stream = choose_stream(config, name)
    found: list[TunedOutput] = []
    fitted: list[str] = []
    lost: Counter[str] = Counter()
    readings = _read(stream, config.device, recording, lost)
    for stage in stream.stages:
        made = stage.stage(readings.schema)
        if isinstance(stage, Fuse) and stage.model in _FITTED:
            for output in stage.all_outputs():
                fit = _fit(stage, output, readings)
                fitted.append(_table(output.name, fit, stage.damping_s, stage.model))
                noise = {"r": fit.r.tolist(), **fit.moves}
                found.append(
                    TunedOutput(
                        name=output.name, file=str(out), gain=fit.gain, nis=fit.nis, readings=fit.readings, noise=noise
                    )
                )
            _write(out, _head(stage.model, recording) + "\n".join(fitted))
        readings = Readings.concatenate([made(readings), made.flush()])
        if isinstance(stage, SelfCalibrate) and isinstance(made, Aligning):
            found.append(_versions(stage, made, out.with_name(f"{stage.name}.versions.toml")))
    if not found:
        raise ConfigError(
            f'stream {stream.name!r} has nothing to tune: add a stage with type = "fuse" and model level, trend or '
            'daily, or one with type = "self_calibrate"'
        )
    return Tuned(stream=stream.name, rows=len(readings), lost=dict(lost), outputs=tuple(found))


def _read(stream: StreamConfig, device: str, recording: Path, lost: Counter[str]) -> Readings:
    source = stream.source if isinstance(stream.source, ReplayConfig) else ReplayConfig(path=recording)
    source = msgspec.structs.replace(source, path=recording, paths=(), speed="flat_out")
    schema = stream.schema(device)
    opened = source.open(schema, stream.channels, rows_max=_ROWS_MAX)
    batches = [Readings.empty(schema)]

    async def every() -> None:
        async for batch in opened.batches():
            lost.update(batch.lost)
            batches.append(batch.readings)

    asyncio.run(every())
    return Readings.concatenate(batches)


def _fit(stage: Fuse, output: FuseOutput, readings: Readings) -> Fit:
    names = [channel.name for channel in readings.schema.channels]
    columns = [names.index(name) for name in output.inputs]
    dt_s = np.diff(readings.time_ns, prepend=readings.time_ns[:1]) / 1e9
    dt_s[:1] = np.nan
    value = np.where(usable(readings), readings.value, np.nan)[:, columns]
    value[dt_s <= 0.0] = np.nan
    dt_s[dt_s < 0.0] = 0.0
    try:
        return fit_noise(_model(stage), dt_s, np.ascontiguousarray(value), stage.damping_s)
    except ValueError as error:
        raise ConfigError(f"output {output.name!r}: {error}") from error


def _model(stage: Fuse) -> Model:
    return next(model for model in _FITTED if model == stage.model)


def _head(model: str, recording: Path) -> str:
    return (
        f'# Written by trueline-edge tune. In the stage: noise = "given", file = this one.\n'
        f"model = {json.dumps(model)}\nrecording = {json.dumps(recording.name)}\n\n"
    )


def _table(name: str, fit: Fit, damping_s: float, model: str) -> str:
    lines = [
        "[[output]]",
        f"name = {json.dumps(name)}",
        f"r = [{', '.join(f'{each:.6g}' for each in fit.r)}]  # variance of each input's noise",
        *(f"{key} = {value:.6g}" for key, value in fit.moves.items()),
        *([f"damping_s = {damping_s:.6g}"] if model != "level" and np.isfinite(damping_s) else []),
        f"# on the later part: NIS {fit.nis:.2f}, log likelihood {fit.gain:+.3f} a reading above the first guess",
    ]
    return "\n".join(lines) + "\n"


def _versions(stage: SelfCalibrate, made: Aligning, path: Path) -> TunedOutput:
    number, parameters, u, time_ns = made.version
    when = datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat() if time_ns else ""
    rows = {
        title: "\n".join(
            f"{json.dumps(name)} = [{', '.join(f'{each:.9g}' for each in numbers)}]"
            for name, numbers in zip(stage.inputs, np.nan_to_num(table), strict=True)
        )
        for title, table in (("parameters", parameters), ("u", u))
    }
    text = (
        "# Written by trueline-edge tune. In the stage: file = this one, version = number; freeze = true to keep it.\n"
        f"# Of each input: bias, drift by day, gain.\n[[version]]\nnumber = {number}\ntime = {json.dumps(when)}\n"
        f"days = {made.days:.9g}\n[version.parameters]\n{rows['parameters']}\n[version.u]\n{rows['u']}\n"
    )
    _write(path, text)
    return TunedOutput(name=f"{stage.name}.version", file=str(path), noise={"version": number})


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error

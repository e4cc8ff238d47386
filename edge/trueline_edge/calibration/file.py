"""The calibration file: TOML that a person can read and write, valid once it is loaded.

Promises: every mistake is named with file, line and key; what `dump_calibration` writes, `load_calibration` reads back
as the same. The standard uncertainty is stated part by part, the part that averages away (noise) apart from the parts
that successive readings have in common. Refuses to know how any of it was found.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_edge.calibration.models import Model, Table
from trueline_wire.settings import Objection, load_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Calibration", "Lag", "Limits", "Play", "Uncertainty", "dump_calibration", "load_calibration"]

FORMAT: Final = 1
_ID_MAX: Final = 64


class Uncertainty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Standard uncertainty of a corrected reading beside that of the parameters, in the corrected unit.

    Attributes:
        noise: of a single reading, independent from one reading to the next. A reading that brings a larger `u` of
            its own keeps that, times the sensitivity.
        noise_interval_s: `noise` is that of averages over so many seconds; 0: of single readings.
        model: what the model cannot say, common to successive readings.
        model_relative: as `model`, as a part of the corrected value.
        drift: after one day; grows with the square root of the days since `date` (a random walk).
    """

    noise: float = 0.0
    noise_interval_s: float = 0.0
    model: float = 0.0
    model_relative: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        for key in self.__struct_fields__:
            if not 0.0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key} {getattr(self, key)} must be a number that is not negative")


class Lag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A first-order lag of the sensor, undone before the model is applied.

    Attributes:
        time_constant_s: after a step the sensor has shown 63 % of it.
        u_s: standard uncertainty of it.
        rate_max: raw units per second. A reading that went faster from the one before did not lag behind it (the
            sensor was stuck, or off): it is taken as it is, SUSPECT, and its `u` holds what undoing would have added.
    """

    time_constant_s: float
    u_s: float = 0.0
    rate_max: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 < self.time_constant_s < math.inf:
            raise ValueError(f"time_constant_s {self.time_constant_s} must be above 0")
        if not 0.0 <= self.u_s < math.inf:
            raise ValueError(f"u_s {self.u_s} must be a number that is not negative")
        if not self.rate_max > 0.0:
            raise ValueError(f"rate_max {self.rate_max} must be above 0")


class Play(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Play (hysteresis, backlash) of the sensor: what it shows moves only when the quantity pushes it.

    Attributes:
        half_width: by which it lags behind, going up and going down alike, in the corrected unit: what a datasheet
            gives as hysteresis of plus or minus so much.
    """

    half_width: float

    def __post_init__(self) -> None:
        if not 0.0 < self.half_width < math.inf:
            raise ValueError(f"half_width {self.half_width} must be above 0")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reading at an end of the sensor's range is cut off: the quantity lies between there and its own limit.

    Attributes:
        raw: lowest and highest raw value the sensor gives.
        value: how far the quantity goes at these two ends, in the corrected unit: 0 and 100 % of humidity.
    """

    raw: tuple[float, float]
    value: tuple[float, float]

    def __post_init__(self) -> None:
        if not -math.inf < self.raw[0] < self.raw[1] < math.inf:
            raise ValueError(f"raw {list(self.raw)}: the first must be below the second, and both finite")
        if self.value[0] == self.value[1] or not all(map(math.isfinite, self.value)):
            raise ValueError(f"value {list(self.value)}: two different numbers are wanted")


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one raw channel becomes one corrected channel, since when, for how long and within which limits.

    Attributes:
        id: unique; travels with every corrected reading. 1 to 64 characters.
        channel: the raw channel it corrects.
        date: when the sensor was compared with its reference (the end of it); its drift counts from here.
        model: see `trueline_edge.calibration.models`.
        range: smallest and largest raw value of the channel, and of every other input, that the calibration has seen.
        unit: UCUM code of the corrected value.
        unit_raw: UCUM code of the raw value; the same as `unit` where left out.
        sensor: id of the sensor it belongs to; any where left out.
        reference: what it was compared with.
        valid_from: readings before are SUSPECT.
        valid_until: readings after are SUSPECT, with a `u` that grows.
        u: see `Uncertainty`.
        lag: see `Lag`; none where left out.
        play: see `Play`; none where left out. The model gives what the sensor shows of the quantity, play and all; by
            `u.noise` it is judged whether that has moved, and `u.model` is taken to change slowly.
        limits: see `Limits`; none where left out.
        note: how it was made; for the reader.
        format: version of this layout.
    """

    id: str
    channel: str
    date: datetime
    model: Model
    range: dict[str, tuple[float, float]] = {}
    unit: str = "1"
    unit_raw: str = ""
    sensor: str = ""
    reference: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    u: Uncertainty = Uncertainty()
    lag: Lag | None = None
    play: Play | None = None
    limits: Limits | None = None
    note: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format} is not known: this version reads {FORMAT}")
        if not 0 < len(self.id) <= _ID_MAX:
            raise ValueError(f"id must have 1 to {_ID_MAX} characters")
        for key in ("date", "valid_from", "valid_until"):
            moment = getattr(self, key)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{key} needs a zone: 2026-03-01T12:00:00Z")
        if self.valid_until is not None and self.valid_until <= (self.valid_from or self.date):
            raise ValueError("valid_until must be later than valid_from and date")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the channels it reads beside its own."""
        if isinstance(self.model, Table):
            return ()
        return tuple(name for name in self.model.linear(self.channel).inputs if name != self.channel)

    @property
    def raw_unit(self) -> str:
        """UCUM code of the raw value."""
        return self.unit_raw or self.unit

    def objections(self) -> Iterator[Objection]:
        """What does not fit together."""
        if self.play is not None and not self.u.noise > 0.0:
            hint = "add [u] noise: whether a reading has moved is judged by it"
            yield Objection(("play",), "play cannot be told from noise that is not stated", hint)
        for name, (low, high) in self.range.items():
            if not -math.inf < low < high < math.inf:
                yield Objection(("range", name), f"{low} must be below {high}, and both finite")
            if name not in (self.channel, *self.inputs):
                yield Objection(("range", name), "the model does not read this channel", "leave it out")
        for name in self.inputs:
            if name not in self.range:
                hint = "add it: where the channel is missing, its middle is taken, with the width as uncertainty"
                yield Objection(("range",), f"the range of the input {name!r} is missing", hint)


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        ConfigError: lists every mistake with key, line and hint.
    """
    return load_toml(path, Calibration)


def dump_calibration(calibration: Calibration) -> str:
    """The text of a calibration file; defaults are left out."""
    lines = ["# A calibration of Trueline. Read by the stage `calibrate`; `trueline-edge check` finds its mistakes."]
    tables: list[str] = []
    for key, value in _written(calibration).items():
        if isinstance(value, dict):
            tables += _table(key, value)
        else:
            lines.append(f"{key} = {_text(value)}")
    return "\n".join([*lines, *tables, ""])


def _written(struct: msgspec.Struct) -> dict[str, Any]:
    """The keys that differ from their default, in order, structs as dicts."""
    found: dict[str, Any] = {}
    tag = struct.__struct_config__.tag
    if tag is not None:
        found["type"] = tag
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if not field.required and value == field.default and field.name != "format":
            continue
        if value in ({}, ()):
            continue
        found[field.encode_name] = _written(value) if isinstance(value, msgspec.Struct) else value
    return found


def _table(name: str, content: dict[str, Any]) -> list[str]:
    lines = ["", f"[{name}]"]
    inner: list[str] = []
    for key, value in content.items():
        if isinstance(value, dict):
            inner += _table(f"{name}.{_key(key)}", value)
        else:
            lines.append(f"{_key(key)} = {_text(value)}")
    return lines + inner


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        case tuple() if value and isinstance(value[0], tuple):
            return "[\n" + "".join(f"    {_text(row)},\n" for row in value) + "]"
        case tuple():
            return "[" + ", ".join(_text(item) for item in value) + "]"
        case _:
            return repr(value)

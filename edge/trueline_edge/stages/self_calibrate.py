"""Self-calibration: sensors of one quantity are aligned with one another, and with a reference when one comes near.

An adder: raw channels come out untouched, so that nothing is ever calibrated twice and every version can be undone;
behind them stand `INPUT.calibrated`, and `NAME.version`, and with `details` the `INPUT.bias` that was taken off.

Bias, drift and gain of each sensor are slow states with a covariance. What is applied is a *version* of them, which
stays as it is until the states have moved by more than half their uncertainty, or are known clearly better; then the
number in `NAME.version` goes up by one. Version 0 is the raw value. `u` of a calibrated value holds its noise, the
covariance of the states, and what they have moved since the version.

Differences between sensors do not show what all have in common. Until a reference has been near, and again when the
sensors may have wandered since, each calibrated value says so: reason UNOBSERVABLE, and the common part stays in `u`.
A sensor that the others contradict by far is SUSPECT (CONSISTENCY) and not learnt from. Where not even the noise can
be told from the bias, because neither `u` nor `bias_u` is known, nothing is applied, and values are SUSPECT.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from trueline_edge.stages.stage import Objection, unknown_channels
from trueline_wire.errors import ConfigError
from trueline_wire.settings import load_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_edge.stages.fusion.aligning import Aligning
    from trueline_wire.readings import Schema

__all__ = ["SelfCalibrate", "Version", "VersionFile", "load_versions"]

_INPUTS_MAX = 16


class Version(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was applied under one number.

    Attributes:
        number: as in the channel `NAME.version`.
        time: UTC, ISO 8601, of the first row it was applied to.
        parameters: of each input: bias [unit], drift [unit/day], gain [1].
        u: of each input: standard uncertainty of these.
        days: since the beginning, to which the bias refers.
    """

    number: int
    time: str = ""
    parameters: dict[str, tuple[float, float, float]]
    u: dict[str, tuple[float, float, float]]
    days: float = 0.0


class VersionFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions, as `trueline-edge tune` writes them.

    Attributes:
        versions: the table `[[version]]`.
    """

    versions: tuple[Version, ...] = msgspec.field(name="version")


class SelfCalibrate(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="self_calibrate"
):
    """Sensors of one quantity. Numbers are in the unit of the inputs.

    Attributes:
        name: of the version channel, `NAME.version`.
        inputs: channels that measure it, redundant or neighbours.
        reference: a channel that is there when a reference is near, NaN otherwise; its `u` says how good it is.
        bias_u: standard uncertainty of a sensor's bias at first; where left out, what its noise leaves of its `u`.
        drift_u_per_day: standard uncertainty of a steady drift; 0: sensors do not drift steadily.
        gain_u: standard uncertainty of a sensor's gain, a pure number; 0: gains are right.
        pivot: value at which an error of gain makes none.
        walk_u_per_day: by which a bias wanders in one day (a random walk); where left out, as far as `bias_u` in 30.
        spread_u: standard uncertainty of the difference between the places of neighbours; 0 for redundant sensors.
        freeze: learn nothing more; what is applied stays.
        file: of versions to begin from.
        version: number of the one in `file`; with freeze = true this is how to go back to it.
        details: add the bias taken off as channels.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "adder"

    name: str
    inputs: tuple[str, ...]
    reference: str | None = None
    bias_u: float | None = None
    drift_u_per_day: float = 0.0
    gain_u: float = 0.0
    pivot: float = 0.0
    walk_u_per_day: float | None = None
    spread_u: float = 0.0
    freeze: bool = False
    file: Path | None = None
    version: int | None = None
    details: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name wants at least one character")
        if not 0 < len(self.inputs) <= _INPUTS_MAX or len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs: 1 to {_INPUTS_MAX} channels are wanted, each once")
        if self.reference is None and len(self.inputs) == 1:
            raise ValueError("inputs: one sensor without a reference shows nothing of its errors: name a second, or it")
        if self.reference in self.inputs:
            raise ValueError("reference is one of the inputs: it is to be another instrument")
        if (self.file is None) != (self.version is None):
            raise ValueError("version and file go together")
        for key in ("drift_u_per_day", "gain_u", "spread_u", "walk_u_per_day"):
            if not 0.0 <= (getattr(self, key) or 0.0) < inf:
                raise ValueError(f"{key} {getattr(self, key)} must be a number that is not negative")
        if self.bias_u is not None and not 0.0 < self.bias_u < inf:
            raise ValueError(f"bias_u {self.bias_u} must be above zero")

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there, names that are taken, two units, versions that are not in their file."""
        units = {channel.name: channel.unit for channel in schema.channels}
        yield from unknown_channels(schema, self.inputs, "inputs")
        yield from unknown_channels(schema, (self.reference,) if self.reference else (), "reference")
        named = [name for name in (*self.inputs, self.reference or "") if name in units]
        if len(found := {units[name] for name in named}) > 1:
            yield Objection(("inputs",), f"channels in {', '.join(sorted(found))}", "convert them before this stage")
        for name in (f"{self.name}.version", *(f"{each}.calibrated" for each in self.inputs)):
            if name in units:
                yield Objection(("name",), f"stream {schema.stream!r} has a channel {name!r} already")
        if self.file is not None:
            try:
                self.begin()
            except ConfigError as error:
                yield Objection(("version",), str(error))

    def begin(self) -> Version | None:
        """The version to begin from; None where none is named.

        Raises:
            ConfigError: the file cannot be read, or does not hold it, or not for these inputs.
        """
        if self.file is None:
            return None
        for version in load_versions(self.file).versions:
            if version.number == self.version and set(self.inputs) <= set(version.parameters):
                return version
        raise ConfigError(f"{self.file}: no version {self.version} of {', '.join(self.inputs)}")

    def stage(self, schema: Schema) -> Aligning:
        """The stage for readings of this schema.

        Raises:
            ConfigError: the file of versions cannot be used.
        """
        from trueline_edge.stages.fusion.aligning import Aligning  # noqa: PLC0415 - it needs the types above

        return Aligning(self, schema)


def load_versions(path: Path) -> VersionFile:
    """Read a file of versions.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    return load_toml(path, VersionFile)

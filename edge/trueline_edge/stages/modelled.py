"""What stages with a model have in common, before any row comes: where it is, who signed it, and whether it fits.

Promises: a version that rotted on the disk does not keep an agent from starting. Refuses to know what models do.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads annotations at run time
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from trueline_edge.stages.stage import Objection, StageSettings
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_model.package import Package
    from trueline_wire.readings import Channel, Schema

__all__ = ["ModelSettings", "is_other_pace", "misfits"]

_KEY_SIZE: Final = 32
_NAME_MAX: Final = 100
_OTHER_PACE: Final = 2.0
"""Rows that come so many times faster or slower than those a model was trained on are not what it knows."""


class ModelSettings(StageSettings, frozen=True, kw_only=True):
    """A model looks at some channels of the stream.

    Attributes:
        name: of the new channels, or what they begin with.
        model: a folder that `trueline-edge model install` keeps, or one package (.tlm).
        public_key: of the one who must have signed it: base64, as `trueline-cloud key` prints it.
        channels: what the model reads, in the order of its inputs; the channels called like its inputs where left out.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "adder"

    name: str
    model: Path
    public_key: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= _NAME_MAX:
            raise ValueError(f"name of 1 to {_NAME_MAX} characters is wanted")
        if len(self.public_key) != _KEY_SIZE:
            raise ValueError(
                f"public_key has {len(self.public_key)} bytes, not {_KEY_SIZE}: copy what `trueline-cloud key` prints"
            )

    def added(self) -> list[Channel]:
        """The new channels; they do not depend on which model serves."""
        raise NotImplementedError

    def taken(self, schema: Schema) -> Iterator[Objection]:
        """New channels whose names the stream has already."""
        names = {channel.name for channel in schema.channels}
        for channel in self.added():
            if channel.name in names:
                yield Objection(("name",), f"stream {schema.stream!r} has a channel {channel.name!r} already")

    def package(self) -> tuple[Package | None, list[Objection]]:
        """The package that serves; where none does, why, unless a version is there that no longer passes."""
        from trueline_edge.inference.serving import open_model  # noqa: PLC0415 - paid for where it is used

        try:
            return open_model(self.model, self.public_key).package, []
        except ConfigError as error:
            # A version that rotted on the disk must not keep the agent from starting: it starts, and says so.
            if self.model.is_dir() and any(self.model.glob("*.tlm")):
                return None, []
            hint = "trueline-edge model install FOLDER PACKAGE.tlm --public-key KEY"
            return None, [Objection(("model",), str(error), hint)]


def is_other_pace(interval_s: float, trained_s: float) -> bool:
    """Are rows at this interval other rows than those a model was trained on?"""
    return not 1.0 / _OTHER_PACE <= interval_s / trained_s <= _OTHER_PACE


def misfits(package: Package, channels: tuple[str, ...] | None, schema: Schema) -> Iterator[Objection]:
    """Why the inputs of a package are not the channels of a stream."""
    inputs = package.manifest.inputs
    read = [one.name for one in inputs] if channels is None else list(channels)
    if len(read) != len(inputs):
        wanted = ", ".join(one.name for one in inputs)
        yield Objection(("channels",), f"{len(read)} channels, and the model reads {len(inputs)}: {wanted}")
        return
    units = {channel.name: channel.unit for channel in schema.channels}
    for name, one in zip(read, inputs, strict=True):
        if name not in units and channels is None:
            hint = f"name the channels the model shall read, in the order of its inputs: {', '.join(read)}"
            yield Objection(("channels",), f"stream {schema.stream!r} has no channel {name!r}", hint)
        elif name in units and units[name] != one.unit:
            message = f"{name!r} is in {units[name]}, and the model's {one.name!r} in {one.unit}"
            yield Objection(("channels",), message, "convert it before this stage")

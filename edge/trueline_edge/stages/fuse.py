"""Fuse: one channel of one quantity from several sensors, or a sensor's own channel filtered; `u` and all.

Promises: channels come in untouched, and behind them stand new ones: `NAME`, and with `details` for each of them
`NAME.innovation`, `NAME.nis` (innovation squared over its variance, about 1 on average) and `NAME.weight.INPUT` (its
share in what is new). `u` holds the filter's variance and the systematic part, which no averaging takes away.

    u^2 = P + systematic^2

What each flag of an input means here: FAIL, MISSING and NaN are not there; SUSPECT counts with three times its
standard uncertainty. What comes out is PASS; SUSPECT where inputs contradict one another without a majority
(CONSISTENCY), where what came was too surprising to be believed (INNOVATION), or where all that counted were SUSPECT;
MISSING, without a value, after `timeout_s` without good input (STALE). An input the majority spoke against leaves the
output PASS, with reason CONSISTENCY.
"""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from trueline_edge.calibration.file import load_calibration
from trueline_edge.stages.fusion.noise import NoiseFile, load_noise
from trueline_edge.stages.stage import Objection, unknown_channels
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_edge.stages.fusion.fusing import Fusing
    from trueline_wire.readings import Schema

__all__ = ["Fuse", "FuseOutput"]

INPUTS_MAX = 16
"""Sensors of one quantity."""
_NAME_MAX = 200


class FuseOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity. Numbers are in the unit of its inputs.

    Attributes:
        name: of the channel that is added.
        inputs: channels that measure it, in order of preference.
        r: variance of a reading's noise, one for all inputs or one for each; where left out, and needed, the square of
            its `u` without the systematic part.
        q: variance the quantity's own walk gains per second.
        q_trend: white noise that moves its slope, unit^2/s^3.
        q_daily: variance the size of its daily cycle gains per second.
        systematic_u: standard uncertainty an input has all the time, one for all or one for each; where left out, what
            its noise leaves unexplained of its `u`.
        common_u: the part of it that all inputs share, where they are otherwise independent.
        own_u: the part of it that is each input's own, one for all or one for each: what they state beyond that and
            their noise (`r`), row by row, they share (sensors with play hang at the same end of it).
        independent: systematic errors of the inputs are; else all may be wrong alike, and no mean makes it better.
    """

    name: str
    inputs: tuple[str, ...]
    r: float | tuple[float, ...] | None = None
    q: float | None = None
    q_trend: float | None = None
    q_daily: float | None = None
    systematic_u: float | tuple[float, ...] | None = None
    common_u: float = 0.0
    own_u: float | tuple[float, ...] | None = None
    independent: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= _NAME_MAX:
            raise ValueError(f"name of 1 to {_NAME_MAX} characters is wanted")
        if not 0 < len(self.inputs) <= INPUTS_MAX or len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs: 1 to {INPUTS_MAX} channels are wanted, each once")
        for key, above in (("r", True), ("systematic_u", False), ("own_u", False)):
            given = getattr(self, key)
            if isinstance(given, tuple) and len(given) != len(self.inputs):
                raise ValueError(f"{key} has {len(given)} numbers for {len(self.inputs)} inputs")
            for number in given if isinstance(given, tuple) else () if given is None else (given,):
                if not (0.0 < number < inf if above else 0.0 <= number < inf):
                    raise ValueError(f"{key} {number} must be a number {'above zero' if above else 'of at least zero'}")
        for key in ("q", "q_trend", "q_daily", "common_u"):
            if not 0.0 <= (getattr(self, key) or 0.0) < inf:
                raise ValueError(f"{key} {getattr(self, key)} must be a number that is not negative")


class Fuse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="fuse"):
    """Several inputs to one channel; or, in `[[stream.stage.output]]` or with `each`, many outputs at once.

    Attributes:
        name: of the one output; as in `FuseOutput`.
        inputs: of the one output; as in `FuseOutput`.
        r: of the one output; as in `FuseOutput`.
        q: of the one output; as in `FuseOutput`.
        q_trend: of the one output; as in `FuseOutput`.
        q_daily: of the one output; as in `FuseOutput`.
        systematic_u: of the one output; as in `FuseOutput`.
        common_u: of the one output; as in `FuseOutput`.
        own_u: of the one output; as in `FuseOutput`.
        independent: of the one output; as in `FuseOutput`.
        each: each input is filtered by itself, into a channel `INPUT.fused`.
        outputs: the table `[[stream.stage.output]]`, in the place of `name` and `inputs`.
        model: how the quantity moves: "weighted_mean" and "vote" look at each row by itself; "level" is a walk,
            "trend" one with a slope that dies away, "daily" that with a daily cycle.
        noise: "learn" from the stream: all of it, or, where `r` or `systematic_u` tell the noise of a reading, how
            the quantity moves; or "given" by `r` and `q`, or by a file.
        file: written by `trueline-edge tune`; with noise = "given".
        calibrations: files of the stage `calibrate`: the noise that one of them states is the `r` of its channel, where
            no other is given.
        damping_s: time constant with which the slope dies away.
        timeout_s: without good input for longer, the output is MISSING; ten rows where left out.
        gate: in standard deviations: an input further from the majority does not count, a fused value further from
            the prediction moves nothing; 5 where left out, 6 for noise = "learn".
        step_samples: so many values beyond the gate that agree are a step, and are followed.
        lag_rows: the value of a row is given so many rows later, with what they say of it: a fixed-lag smoother, for
            models "level".
        fail_after: bad rows until a voter is out of order.
        recover_after: good rows until it is back.
        confidence: of the consistency test of the weighted mean: so many rows of good inputs pass it.
        details: add innovation, NIS and weights as channels.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "adder"

    name: str = ""
    inputs: tuple[str, ...] = ()
    each: bool = False
    outputs: tuple[FuseOutput, ...] = msgspec.field(name="output", default=())
    model: Literal["weighted_mean", "vote", "level", "trend", "daily"] = "level"
    noise: Literal["learn", "given"] = "learn"
    file: Path | None = None
    calibrations: tuple[Path, ...] = ()
    r: float | tuple[float, ...] | None = None
    q: float | None = None
    q_trend: float | None = None
    q_daily: float | None = None
    damping_s: float = 21_600.0
    systematic_u: float | tuple[float, ...] | None = None
    common_u: float = 0.0
    own_u: float | tuple[float, ...] | None = None
    independent: bool = False
    timeout_s: float | None = None
    gate: float | None = None
    step_samples: int = 3
    lag_rows: int = 0
    fail_after: int = 3
    recover_after: int = 10
    confidence: float = 0.999
    details: bool = True

    def __post_init__(self) -> None:
        if bool(self.outputs) == bool(self.inputs):
            raise ValueError("inputs, or tables [[stream.stage.output]], are wanted, and not both")
        if bool(self.name) == (self.each or bool(self.outputs)):
            raise ValueError("name of the one output is wanted; with each, or with tables of outputs, none")
        if self.outputs and (self.each or any(getattr(self, key) != _OUTPUT[key] for key in _OUTPUT)):
            raise ValueError("output tables say r, q, systematic_u and the like for themselves: move these keys there")
        if self.each and any(isinstance(each, tuple) for each in (self.r, self.systematic_u, self.own_u)):
            raise ValueError(
                "each takes one r, one systematic_u and one own_u; write tables of outputs to tell inputs apart"
            )
        _check_numbers(self)
        self.all_outputs()

    def all_outputs(self) -> tuple[FuseOutput, ...]:
        """All outputs, however they were written down."""
        own = {key: getattr(self, key) for key in _OUTPUT}
        if self.outputs:
            return self.outputs
        if self.each:
            return tuple(FuseOutput(name=f"{name}.fused", inputs=(name,), **own) for name in self.inputs)
        return (FuseOutput(name=self.name, inputs=self.inputs, **own),)

    @property
    def gate_used(self) -> float:
        """The gate, in standard deviations."""
        return self.gate or (6.0 if self.noise == "learn" else 5.0)

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there, names that are taken, inputs of two units, noises that are not said."""
        units = {channel.name: channel.unit for channel in schema.channels}
        noise: NoiseFile | None = None
        if self.file is not None:
            try:
                noise = load_noise(self.file)
            except ConfigError as error:
                yield Objection(("file",), str(error), "write it with: trueline-edge tune")
        for position, calibration in enumerate(self.calibrations):
            try:
                load_calibration(calibration)
            except ConfigError as error:
                yield Objection(("calibrations", position), str(error))
        for position, output in enumerate(self.all_outputs()):
            path = ("output", position) if self.outputs else ()
            for objection in unknown_channels(schema, output.inputs, "inputs"):
                yield Objection((*path, *objection.path), objection.message, objection.hint)
            if output.name in units:
                yield Objection((*path, "name"), f"stream {schema.stream!r} has a channel {output.name!r} already")
            if len(found := {units[name] for name in output.inputs if name in units}) > 1:
                hint = "convert them before this stage"
                yield Objection((*path, "inputs"), f"inputs in {', '.join(sorted(found))}", hint)
            if self.noise == "given" and self.model in _FILTERS and (self.file is None or noise is not None):
                yield from _missing_noise(self, output, noise, path)

    def stage(self, schema: Schema) -> Fusing:
        """The stage for readings of this schema.

        Raises:
            ConfigError: the file with the noises cannot be used.
        """
        from trueline_edge.stages.fusion.fusing import Fusing  # noqa: PLC0415 - it needs the types above

        return Fusing(self, schema)


_FILTERS = ("level", "trend", "daily")
_OUTPUT = {
    field.name: field.default for field in msgspec.structs.fields(FuseOutput) if field.name not in {"name", "inputs"}
}


def _check_numbers(config: Fuse) -> None:
    if config.timeout_s is not None and not 0.0 < config.timeout_s <= _TIMEOUT_MAX_S:
        raise ValueError(f"timeout_s {config.timeout_s} must be above 0 and at most {_TIMEOUT_MAX_S:.0f}")
    if not (config.gate_used > 1.0 and config.damping_s > 0.0):
        raise ValueError(f"gate {config.gate} must be above 1, and damping_s {config.damping_s} above zero")
    if min(config.step_samples, config.fail_after, config.recover_after) < 1:
        raise ValueError("step_samples, fail_after and recover_after must be at least 1")
    if not _CONFIDENCE_MIN <= config.confidence < 1.0:
        raise ValueError(f"confidence {config.confidence} must be from {_CONFIDENCE_MIN} to below 1")
    if not 0 <= config.lag_rows <= _LAG_MAX or (config.lag_rows and config.model != "level"):
        raise ValueError(f"lag_rows {config.lag_rows} must be from 0 to {_LAG_MAX}, and is for model 'level'")
    if config.file is not None and config.noise != "given":
        raise ValueError('file goes with noise = "given"')
    if config.model == "daily" and not isfinite(config.damping_s):
        raise ValueError("damping_s must be a number for model 'daily'")


_LAG_MAX = 1000
_TIMEOUT_MAX_S = 1e6
_CONFIDENCE_MIN = 0.5


def _missing_noise(
    config: Fuse, output: FuseOutput, noise: NoiseFile | None, path: tuple[str | int, ...]
) -> Iterator[Objection]:
    learnt = noise.of(output.name) if noise else None
    if noise and learnt is None:
        yield Objection((*path, "name"), f"{config.file} has no noise of {output.name!r}", "run trueline-edge tune")
    wanted = ["q"] + (["q_trend"] if config.model != "level" else []) + (["q_daily"] if config.model == "daily" else [])
    for key in wanted:
        if getattr(output, key) is None and getattr(learnt, key, None) is None:
            hint = f'add it, in unit^2/s{"^3" if key == "q_trend" else ""}; or noise = "learn"; or trueline-edge tune'
            yield Objection((*path, key), f'missing: noise = "given" and model {config.model!r} want it', hint)

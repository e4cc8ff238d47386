"""Estimation with a model of one's own: states that nobody measures, out of channels that see them.

A Python file says how the state moves and what each input shows of it (`trueline_edge.estimation.nonlinear.Model`);
the filter is extended, unscented, or several interacting models (filterpy, extra `nonlinear`). `docs/nonlinear.md`
takes one from nothing to a configuration.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from math import inf
from pathlib import Path  # noqa: TC003 - msgspec reads annotations at run time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.nonlinear import NonlinearOut, NonlinearState, begin, gradient, track
from trueline_edge.estimation.outcomes import Robust
from trueline_edge.stages.model_file import load_model
from trueline_edge.stages.stage import Objection, StageSettings, pack_arrays, unpack_arrays, usable
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Estimate", "Output"]

SUSPECT_WIDENS: Final = 3.0
"""The `u` of a SUSPECT reading counts so many times."""


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel that the stage adds.

    Attributes:
        name: of the channel.
        of: the state, or the derived output of the model, it shows; the one called like the channel where left out.
        unit: UCUM code.
        systematic_u: standard uncertainty that no filter averages away, such as that of a surveyed anchor; added to
            the filter's own.
    """

    name: str
    of: str = ""
    unit: str = "1"
    systematic_u: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.systematic_u < inf:
            raise ValueError(f"systematic_u {self.systematic_u} must be a number that is not negative")


class Estimate(StageSettings, frozen=True, kw_only=True, tag="estimate"):
    """A filter with a model of one's own, over some channels of the stream.

    FAIL and MISSING readings are not looked at; the `u` of a SUSPECT one counts three times. A reading without `u` has
    the model's noise. Nor is a row looked at whose time is not later than the one before. Where more than one in three
    inputs is refused, the outputs are SUSPECT (INNOVATION).

    Attributes:
        model: Python file with `def model(**parameters) -> Model`. It runs with the rights of the agent.
        parameters: the table given to it.
        filter: "ekf" (extended), "ukf" (unscented) or "imm" (interacting: the model has modes).
        channels: the inputs, in the order of the model's measurement; all where left out.
        outputs: the table `[[stream.stage.output]]`.
        nis: name of the channel for the normalised innovation squared a value, about 1 where the model holds; ""
            for none.
        innovations: add "innovation_..." for each input, with the `u` it should have.
        gate: an input further than so many standard deviations from its prediction moves nothing.
        tail: degrees of freedom of the noise (Student's t): the fewer, the less a surprising value moves.
        patience: after more than so many rows of which most inputs were refused the filter starts anew: it was lost.
        timeout_s: so long after the last input that counted, outputs FAIL as STALE.
        gap_max_s: after a longer gap the filter starts anew.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "adder"

    model: Path
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    filter: Literal["ekf", "ukf", "imm"] = "ekf"
    outputs: tuple[Output, ...] = msgspec.field(name="output")
    nis: str = "nis"
    innovations: bool = False
    gate: float = 5.0
    tail: float = 6.0
    patience: int = 10
    timeout_s: float = 5.0
    gap_max_s: float = 60.0

    def __post_init__(self) -> None:
        if not self.outputs:
            raise ValueError("outputs: at least one [[stream.stage.output]] is wanted")
        for name in ("gate", "tail", "timeout_s", "gap_max_s"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} {getattr(self, name)} must be above zero")
        if self.patience < 1:
            raise ValueError(f"patience {self.patience} must be at least 1")

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels the stream does not have, a model that does not fit them, names that are taken."""
        yield from super().objections(schema)
        if importlib.util.find_spec("filterpy") is None:
            yield Objection((), "filterpy is not installed", 'pip install "trueline[nonlinear]"')
        names = [channel.name for channel in schema.channels]
        for channel in self._added(""):
            if channel.name in names or not channel.name:
                yield Objection(("output",), f"{channel.name!r} is a name already taken, or none", "choose another")
            names.append(channel.name)
        try:
            model = load_model(self.model, self.parameters).model
        except ConfigError as error:
            yield Objection(("model",), str(error))
            return
        inputs = len(schema.channels if self.channels is None else self.channels)
        if inputs != model.inputs:
            yield Objection(("channels",), f"{inputs} inputs, and the model's measurement gives {model.inputs}")
        if self.filter == "imm" and len(model.modes) < 2:  # noqa: PLR2004 - one does not interact
            yield Objection(("filter",), f"the model has {len(model.modes)} modes: interacting ones are at least two")
        known = [*model.state, *(model.derived or ())]
        for position, output in enumerate(self.outputs):
            if (output.of or output.name) not in known:
                hint = f"the model has {', '.join(known)}"
                yield Objection(("output", position, "of"), f"{output.of or output.name!r} is not of the model", hint)

    def stage(self, schema: Schema) -> EstimateState:
        """The stage for readings of this schema."""
        return EstimateState(self, schema)

    def _added(self, id_: str) -> Iterator[Channel]:
        """The channels the stage adds; the model's id stands where a calibration's would."""
        for output in self.outputs:
            yield Channel(name=output.name, unit=output.unit, calibration=id_)
        if self.nis:
            yield Channel(name=self.nis, calibration=id_)

    def schema(self, schema: Schema, id_: str) -> Schema:
        """Of what comes out."""
        seen = [c for c in schema.channels if self.channels is None or c.name in self.channels]
        ordered = seen if self.channels is None else sorted(seen, key=lambda c: (self.channels or ()).index(c.name))
        extra = [
            Channel(name=f"innovation_{c.name}", unit=c.unit, calibration=id_) for c in ordered if self.innovations
        ]
        return replace(schema, channels=(*schema.channels, *self._added(id_), *extra))


class _Memory(NamedTuple):
    """What the stage remembers: the filter's state, the last row's time, and seconds since an input counted."""

    filter: NonlinearState
    last_ns: NDArray[np.int64]  # (1,); before the first row the lowest there is
    age_s: NDArray[np.float64]  # (1,); inf before the first input


_NEVER: Final = np.iinfo(np.int64).min


class EstimateState:
    """Runs the filter over the input columns and puts what it says behind them."""

    delay = 0

    def __init__(self, config: Estimate, schema: Schema) -> None:
        self._config = config
        loaded = load_model(config.model, config.parameters)
        self._model = loaded.model
        names = [channel.name for channel in schema.channels]
        self._inputs = [names.index(name) for name in (names if config.channels is None else config.channels)]
        self._noise = np.broadcast_to(np.asarray(loaded.model.noise, np.float64), (loaded.model.inputs,))
        self._robust = Robust(dof=config.tail, gate=config.gate, step_samples=config.patience)
        self._memory = _Memory(begin(self._model, config.filter), np.array([_NEVER]), np.array([inf]))
        self.schema: Final = config.schema(schema, loaded.id)

    def __call__(self, readings: Readings, /) -> Readings:
        config, memory = self._config, self._memory
        times = np.concatenate([memory.last_ns, readings.time_ns])
        later = times[1:] > times[:-1]
        first = times[:-1] == _NEVER
        dt_s = np.where(later & ~first, (times[1:] - times[:-1]).astype(np.uint64) / 1e9, 0.0)
        value = np.where(usable(readings) & later[:, None], readings.value, np.nan)[:, self._inputs]
        out = track(
            self._model,
            config.filter,
            memory.filter,
            dt_s,
            value,
            self._variance(readings),
            self._robust,
            config.gap_max_s,
        )
        age_s = _ages(memory.age_s[0], dt_s, out)
        self._memory = _Memory(out.state, times[-1:], np.concatenate([memory.age_s, age_s])[-1:])
        return self._behind(readings, out, age_s)

    def _variance(self, readings: Readings) -> NDArray[np.float64]:
        """(n, m) of each input: its own, or the model's; wider where it is SUSPECT."""
        u = readings.u[:, self._inputs].astype(np.float64)
        u = np.where(u > 0.0, u, self._noise)
        return np.asarray((u * np.where(readings.flag[:, self._inputs] == Flag.SUSPECT, SUSPECT_WIDENS, 1.0)) ** 2)

    def _behind(self, readings: Readings, out: NonlinearOut, age_s: NDArray[np.float64]) -> Readings:
        config, n = self._config, len(readings)
        shown = [self._shown(output, out) for output in config.outputs]
        value, u = (np.stack(part, axis=1) for part in zip(*shown, strict=True))
        value[age_s == inf], u[age_s == inf] = np.nan, np.nan
        measured, accepted = (np.count_nonzero(part, axis=1) for part in (np.isfinite(out.innovation), out.accepted))
        flag, reason = np.full(n, Flag.PASS, np.uint8), np.zeros(n, np.uint32)
        for where, worse, because in (
            (3 * accepted < 2 * measured, Flag.SUSPECT, Reason.INNOVATION),  # more than one in three contradicts
            (age_s > config.timeout_s, Flag.FAIL, Reason.STALE),
            (age_s == inf, Flag.MISSING, Reason.MISSING),
        ):
            flag[where], reason[where] = worse, because
        seen = np.stack([out.nis], axis=1) if config.nis else np.empty((n, 0))
        seen_u = np.full(seen.shape, np.nan)
        if config.innovations:
            seen, seen_u = np.hstack([seen, out.innovation]), np.hstack([seen_u, np.sqrt(out.innovation_var)])
        nothing = np.isnan(seen)
        width = (1, len(config.outputs))
        return Readings(
            self.schema,
            readings.time_ns,
            np.hstack([readings.value, value, seen]),
            np.hstack([readings.u, u.astype(np.float32), seen_u.astype(np.float32)]),
            np.hstack([readings.flag, np.tile(flag[:, None], width), _chosen(nothing, Flag.MISSING, Flag.PASS)]),
            np.hstack([readings.reason, np.tile(reason[:, None], width), _chosen(nothing, Reason.MISSING, 0)]),
        )

    def _shown(self, output: Output, out: NonlinearOut) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) value and standard uncertainty of one output."""
        of = output.of or output.name
        if of in self._model.state:
            column = list(self._model.state).index(of)
            value, var = out.mean[:, column], out.covariance[:, column, column]
        else:
            function = (self._model.derived or {})[of]
            value = np.array([function(mean) for mean in out.mean], np.float64)
            slope = np.array([gradient(function, mean) for mean in out.mean]).reshape(out.mean.shape)
            var = np.einsum("ni,nij,nj->n", slope, out.covariance, slope)
        return value.copy(), np.sqrt(var + output.systematic_u**2)

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The filter's state, and when it last learnt something."""
        return pack_arrays(*self._memory.filter, self._memory.last_ns, self._memory.age_s)

    def restore(self, state: bytes) -> None:
        """Go on with the filter of another life."""
        *parts, last_ns, age_s = unpack_arrays(state, *self._memory.filter, self._memory.last_ns, self._memory.age_s)
        self._memory = _Memory(NonlinearState(*parts), last_ns, age_s)


def _ages(age_s: float, dt_s: NDArray[np.float64], out: NonlinearOut) -> NDArray[np.float64]:
    """(n,) seconds since an input counted; inf where none has since the filter started."""
    ages = np.empty(len(dt_s))
    learnt = np.count_nonzero(out.accepted, axis=1)
    for row in range(len(dt_s)):
        age_s = 0.0 if learnt[row] else inf if out.restarted[row] else age_s + dt_s[row]
        ages[row] = age_s
    return ages


def _chosen(where: NDArray[np.bool_], yes: int, no: int) -> NDArray[Any]:
    """`yes` or `no`, of the type of flags or reasons."""
    dtype = np.uint8 if isinstance(yes, Flag) else np.uint32
    return np.where(where, dtype(yes), dtype(no))

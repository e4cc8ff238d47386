"""What the stage `detect` does at run time: readings to a judge, what it says to channels, and its events to readings.

Promises: where no model serves, the stage runs on with its channels MISSING and says so once in the log: an agent does
not die of its model. A state goes on only with the very model it came from; another starts anew, also where it comes
while the stage runs: between two batches, and each row says which model looked at it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_edge.inference.serving import open_model, serve
from trueline_edge.stages.following import Following
from trueline_edge.stages.model_memory import remember, remembered
from trueline_edge.stages.modelled import misfits
from trueline_edge.stages.stage import usable
from trueline_edge.stages.telling import Telling, shares
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_edge.stages.detect import Detect
    from trueline_model.detector import State
    from trueline_model.judge import Judge
    from trueline_wire.readings import Schema

__all__ = ["Detecting"]

_MISSING, _PASS = np.uint8(Flag.MISSING), np.uint8(Flag.PASS)
_NOT_SAID, _NO_REASON = np.uint32(Reason.MISSING), np.uint32(0)
_SCORE, _P, _ALARM, _MODEL, _SHARES = range(5)


class _Model(NamedTuple):
    """A model that serves, made for the schema of a stage.

    Attributes:
        judge: what it says.
        inputs: columns it reads.
        telling: makes events; None where none are wanted, or it raises no alarm.
        digest: names it.
        version: of it.
        news: for the log.
    """

    judge: Judge
    inputs: list[int]
    telling: Telling | None
    digest: bytes
    version: int
    news: dict[str, str]


class Detecting:
    """Asks the judge about the input columns, and puts what it says behind all columns."""

    delay = 0

    def __init__(self, config: Detect, schema: Schema) -> None:
        self.schema: Final = replace(schema, channels=(*schema.channels, *config.added()))
        self._columns = len(self.schema.channels) - len(schema.channels)
        self._following = Following(
            config.model, config.name, lambda but: _made(config, schema, but), "nothing is detected"
        )
        self._state: State | None = None
        self._told: list[Readings] = []

    def __call__(self, readings: Readings, /) -> Readings:
        """Say of each row what the judge says."""
        new = np.full((len(readings), self._columns), np.nan)
        if (model := self._following.serving()) is not None:
            inputs = model.inputs
            said = model.judge(readings.time_ns, readings.value[:, inputs], usable(readings)[:, inputs], self._state)
            self._state = said.state or None
            new[:, _SCORE], new[:, _P], new[:, _ALARM] = said.score, said.p, said.alarm
            new[:, _MODEL] = model.version
            if self._columns > _SHARES:
                new[:, _SHARES:] = shares(said.contribution, said.score)
            if model.telling is not None:
                self._told += model.telling(_columns(readings, inputs, model.telling.inputs), said)
        nothing = np.isnan(new)
        flag = np.where(nothing, _MISSING, _PASS)
        reason = np.where(nothing, _NOT_SAID, _NO_REASON)
        if (alarmed := new[:, _ALARM] == 1.0).any():
            said_then = alarmed[:, None] & ~nothing
            flag[said_then], reason[said_then] = Flag.SUSPECT, Reason.MULTI_VARIATE
        return Readings.trusted(
            self.schema,
            readings.time_ns,
            np.concatenate([readings.value, new], axis=1),
            np.concatenate([readings.u, np.full(new.shape, np.nan, np.float32)], axis=1),
            np.concatenate([readings.flag, flag], axis=1),
            np.concatenate([readings.reason, reason], axis=1),
        )

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def take_told(self) -> list[Readings]:
        """See `Teller`."""
        told, self._told = self._told, []
        return told

    def state(self) -> bytes:
        """The judge's state, the rows events are told with, and whose they are."""
        model = self._following.model
        telling = model.telling.state() if model is not None and model.telling else b""
        return remember(self._following.digest, self._state, telling)

    def restore(self, state: bytes) -> None:
        """Go on with the state of another life; where that had another model, this one starts anew."""
        model = self._following.model
        memory = remembered(state, self._following.digest)
        if memory is None or model is None:
            return
        arrays = memory.state
        k = len(model.inputs)
        try:  # a row that nobody keeps: what is said of it does not matter, that it can be is
            model.judge(arrays["last_ns"].reshape(1) + 1, np.zeros((1, k)), np.zeros((1, k), np.bool_), arrays)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"a state of another detector: {error}") from error
        if model.telling is not None:
            model.telling.restore(memory.more)
        self._state = arrays

    def maybe_renewal(self) -> Callable[[], Callable[[], None]] | None:
        """See `Renewable`."""
        return self._following.maybe_renewal(self._switched)

    def _switched(self, before: _Model | None) -> None:
        """What was open is told, and the new model starts anew."""
        if before is not None and before.telling is not None:
            self._told += before.telling.close()
        self._state = None


def _made(config: Detect, schema: Schema, but: bytes) -> _Model | None:
    """The model a configuration names, made for a schema; None where it is the one with the digest `but`.

    Raises:
        ConfigError, NeverRetry: none serves; the message says why.
    """
    served = open_model(config.model, config.public_key)
    if served.digest == but:
        return None
    package = served.package
    for misfit in misfits(package, config.channels, schema):
        raise NeverRetry(f"{package.manifest.file_name} does not fit: {misfit.message}")
    judge = serve(package, rate_hz=config.rate_hz, gap_s=config.gap_max_s, memory_rows=config.memory_rows)
    names = [channel.name for channel in schema.channels]
    inputs = [names.index(name) for name in config.reads(package)]
    version = package.manifest.version
    telling = None
    if config.event_rows and judge.alarming is not None:
        read = replace(schema, channels=tuple(schema.channels[column] for column in inputs))
        telling = Telling(read, config.name, judge, version, config.event_rows)
    news = {"stage": config.name, "model": package.manifest.file_name, "cost": str(served.cost)}
    return _Model(judge, inputs, telling, served.digest, version, news)


def _columns(readings: Readings, columns: list[int], schema: Schema) -> Readings:
    """Some columns of readings."""
    return Readings.trusted(
        schema,
        readings.time_ns,
        readings.value[:, columns],
        readings.u[:, columns],
        readings.flag[:, columns],
        readings.reason[:, columns],
    )

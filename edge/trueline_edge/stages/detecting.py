"""What the stage `detect` does at run time: readings to a judge, and what it says to channels.

Promises: where no model serves, the stage runs on with its channels MISSING and says so once in the log: an agent does
not die of its model. A state goes on only with the very model it came from; another starts anew.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from trueline_edge.inference.serving import open_model, serve
from trueline_edge.stages.detect import misfits
from trueline_edge.stages.stage import usable
from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.inference.store import Served
    from trueline_edge.stages.detect import Detect
    from trueline_model.detector import State
    from trueline_model.judge import Judge
    from trueline_wire.readings import Schema

__all__ = ["Detecting"]

_LOG: Final = logging.getLogger(__name__)
_SCORE, _P, _ALARM, _SHARES = range(4)


class _Array(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Memory(msgspec.Struct, frozen=True, array_like=True):
    """What the stage remembers, and which model it is the memory of."""

    digest: bytes
    state: dict[str, _Array] | None


class Detecting:
    """Asks the judge about the input columns, and puts what it says behind all columns."""

    delay = 0

    def __init__(self, config: Detect, schema: Schema) -> None:
        self.schema: Final = replace(schema, channels=(*schema.channels, *config.added()))
        self._columns = len(self.schema.channels) - len(schema.channels)
        self._judge: Judge | None = None
        self._inputs: list[int] = []
        self._digest = b""
        self._news: dict[str, str] = {}
        self._state: State | None = None
        try:
            served = open_model(config.model, config.public_key)
            self._serve(config, schema, served)
        except (ConfigError, NeverRetry) as error:
            _LOG.error("no model serves: nothing is detected", extra={"stage": config.name, "reason": str(error)})

    def _serve(self, config: Detect, schema: Schema, served: Served) -> None:
        package = served.package
        for misfit in misfits(package, config.channels, schema):
            raise NeverRetry(f"{package.manifest.file_name} does not fit: {misfit.message}")
        judge = serve(package, rate_hz=config.rate_hz, gap_s=config.gap_max_s)
        names = [channel.name for channel in schema.channels]
        read = config.channels or tuple(one.name for one in package.manifest.inputs)
        self._inputs = [names.index(name) for name in read]
        self._judge, self._digest = judge, served.digest
        self._news = {
            "stage": config.name,
            "model": package.manifest.file_name,
            "cost": str(served.cost),
        }

    def __call__(self, readings: Readings, /) -> Readings:
        """Say of each row what the judge says."""
        new = np.full((len(readings), self._columns), np.nan)
        if self._judge is not None:
            if self._news:  # not where a configuration is only checked
                _LOG.info("a model serves", extra=self._news)
                self._news = {}
            valid = usable(readings)[:, self._inputs]
            said = self._judge(readings.time_ns, readings.value[:, self._inputs], valid, self._state)
            self._state = said.state or None
            new[:, _SCORE], new[:, _P], new[:, _ALARM] = said.score, said.p, said.alarm
            if self._columns > _SHARES:
                new[:, _SHARES:] = _shares(said.contribution, said.score)
        nothing = np.isnan(new)
        alarmed = ~nothing & (new[:, _ALARM : _ALARM + 1] == 1.0)
        flag = np.where(nothing, Flag.MISSING, np.where(alarmed, Flag.SUSPECT, Flag.PASS)).astype(np.uint8)
        reason = np.where(nothing, Reason.MISSING, np.where(alarmed, Reason.MULTI_VARIATE, 0)).astype(np.uint32)
        return Readings(
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

    def state(self) -> bytes:
        """The judge's state, and whose it is."""
        arrays = None
        if self._state is not None:
            arrays = {name: _packed(np.asarray(array)) for name, array in self._state.items()}
        return msgspec.msgpack.encode(_Memory(self._digest, arrays))

    def restore(self, state: bytes) -> None:
        """Go on with the state of another life; where that had another model, this one starts anew."""
        memory = msgspec.msgpack.decode(state, type=_Memory)
        if memory.digest != self._digest or not memory.state or self._judge is None:
            return
        arrays = {name: _unpacked(array) for name, array in memory.state.items()}
        k = len(self._inputs)
        try:  # a row that nobody keeps: what is said of it does not matter, that it can be is
            self._judge(arrays["last_ns"].reshape(1) + 1, np.zeros((1, k)), np.zeros((1, k), np.bool_), arrays)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"a state of another detector: {error}") from error
        self._state = arrays


def _shares(contribution: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) of each input in the score; 0 of a score of 0, NaN where there is none."""
    shares = np.where(np.isnan(score)[:, None], np.nan, np.zeros(contribution.shape))
    np.divide(contribution, score[:, None], out=shares, where=score[:, None] > 0.0)
    return shares


def _packed(array: NDArray[Any]) -> _Array:
    return _Array(array.dtype.str, array.shape, array.tobytes())


def _unpacked(array: _Array) -> NDArray[Any]:
    """An array back.

    Raises:
        ValueError: it is none of numbers.
    """
    try:
        dtype = np.dtype(array.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise ValueError(f"a state of {array.dtype!r:.40}")
    return np.frombuffer(array.data, dtype).reshape(array.shape).copy()

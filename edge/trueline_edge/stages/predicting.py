"""What the stage `predict` does at run time: readings to a predictor, and what it says to channels.

Promises: where no model serves, the stage runs on with its channels MISSING and says so once in the log: an agent does
not die of its model. A state goes on only with the very model it came from; another starts anew, also where it comes
while the stage runs: between two batches, and each row says which model looked at it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_edge.inference.serving import open_model, serve_prediction
from trueline_edge.stages.following import Following
from trueline_edge.stages.model_memory import remember, remembered
from trueline_edge.stages.modelled import misfits
from trueline_edge.stages.stage import usable
from trueline_model.interval import STANDARD
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trueline_edge.stages.predict import Predict
    from trueline_model.detector import State
    from trueline_model.interval import Intervals
    from trueline_model.prediction import Predictor
    from trueline_wire.readings import Schema

__all__ = ["Predicting"]

_MODEL, _COLUMNS = 3, 4
_BEYOND: Final = 0.1
"""Of the range an input was trained on: so far outside nothing was learnt."""


class _Model(NamedTuple):
    """A model that serves, made for the schema of a stage.

    Attributes:
        predictor: what it says,
        intervals: and how sure it is.
        inputs: columns it reads.
        least: (k,) so low has it learnt.
        most: (k,) so high.
        digest: names it.
        version: of it.
        news: for the log.
    """

    predictor: Predictor
    intervals: Intervals
    inputs: list[int]
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    digest: bytes
    version: int
    news: dict[str, str]


class Predicting:
    """Asks the predictor about the input columns, and puts what it says behind all columns."""

    delay = 0

    def __init__(self, config: Predict, schema: Schema) -> None:
        self.schema: Final = replace(schema, channels=(*schema.channels, *config.added()))
        self._coverage = config.coverage
        self._following = Following(
            config.model, config.name, lambda but: _made(config, schema, but), "nothing is predicted"
        )
        self._state: State | None = None

    def __call__(self, readings: Readings, /) -> Readings:
        """Say of each row what the predictor says."""
        new = np.full((len(readings), _COLUMNS), np.nan)
        u = np.full(new.shape, np.nan, np.float32)
        strange = np.zeros((len(readings), 1), np.bool_)
        if (model := self._following.serving()) is not None:
            self._predict(model, readings, new, u)
            new[:, _MODEL] = model.version
            strange = _strange(model, readings)
        nothing = np.isnan(new)
        doubted = ~nothing & strange & (np.arange(_COLUMNS) != _MODEL)
        flag = np.where(nothing, Flag.MISSING, np.where(doubted, Flag.SUSPECT, Flag.PASS)).astype(np.uint8)
        reason = np.where(nothing, Reason.MISSING, np.where(doubted, Reason.CLIMATOLOGY, 0)).astype(np.uint32)
        return Readings(
            self.schema,
            readings.time_ns,
            np.concatenate([readings.value, new], axis=1),
            np.concatenate([readings.u, u], axis=1),
            np.concatenate([readings.flag, flag], axis=1),
            np.concatenate([readings.reason, reason], axis=1),
        )

    def _predict(self, model: _Model, readings: Readings, new: NDArray[np.float64], u: NDArray[np.float32]) -> None:
        """Fill in mean, interval and uncertainty."""
        valid = usable(readings)[:, model.inputs]
        said = model.predictor(readings.time_ns, readings.value[:, model.inputs], valid, self._state)
        self._state = said.state or None
        low, high = model.intervals(said.spread, self._coverage)
        inner = model.intervals(said.spread, STANDARD)
        new[:, :_MODEL] = model.predictor.recipe.clipped(np.column_stack([said.spread[:, 1], low, high]))
        u[:, 0] = 0.5 * (inner[1] - inner[0])

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The predictor's state, and whose it is."""
        return remember(self._following.digest, self._state)

    def restore(self, state: bytes) -> None:
        """Go on with the state of another life; where that had another model, this one starts anew."""
        model = self._following.model
        memory = remembered(state, self._following.digest)
        if memory is None or model is None:
            return
        nothing = np.zeros((1, len(model.inputs)))
        try:  # a row that nobody keeps: what is said of it does not matter, that it can be is
            model.predictor(memory.state["last_ns"].reshape(1) + 1, nothing, nothing > 0.0, memory.state)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"a state of another predictor: {error}") from error
        self._state = memory.state

    def maybe_renewal(self) -> Callable[[], Callable[[], None]] | None:
        """See `Renewable`."""
        return self._following.maybe_renewal(self._switched)

    def _switched(self, _before: _Model | None) -> None:
        self._state = None


def _made(config: Predict, schema: Schema, but: bytes) -> _Model | None:
    """The model a configuration names, made for a schema; None where it is the one with the digest `but`.

    Raises:
        ConfigError: none serves, or it cannot promise the coverage.
        NeverRetry: it predicts something else, or from something else.
    """
    served = open_model(config.model, config.public_key)
    if served.digest == but:
        return None
    manifest = served.package.manifest
    for misfit in misfits(served.package, config.channels, schema):
        raise NeverRetry(f"{manifest.file_name} does not fit: {misfit.message}")
    predictor, intervals = serve_prediction(served.package)
    if predictor.recipe.unit != config.unit:
        raise NeverRetry(f"{manifest.file_name} predicts in {predictor.recipe.unit!r}, not in {config.unit!r}")
    intervals.stretch(config.coverage)
    names = [channel.name for channel in schema.channels]
    inputs = [names.index(name) for name in config.channels or tuple(one.name for one in manifest.inputs)]
    least, most = (np.array([getattr(one, end) for one in manifest.inputs]) for end in ("minimum", "maximum"))
    beyond = _BEYOND * (most - least)
    news = {"stage": config.name, "model": manifest.file_name, "cost": str(served.cost)}
    return _Model(predictor, intervals, inputs, least - beyond, most + beyond, served.digest, manifest.version, news)


def _strange(model: _Model, readings: Readings) -> NDArray[np.bool_]:
    """(n, 1) rows in which an input lies where nothing was learnt."""
    value, valid = readings.value[:, model.inputs], usable(readings)[:, model.inputs]
    return np.asarray((valid & ((value < model.least) | (value > model.most))).any(axis=1, keepdims=True))

"""From histories to an int8 network that predicts, and to what it says of units it has not seen.

Promises: units are dealt into folds; each is predicted once by a network that has seen nothing of it, scaling and the
choice of the epoch included, and those predictions calibrate the intervals of the one network that is trained on all
(cross-conformal prediction: Vovk, 2015; networks of fewer units are rather worse than it, so intervals rather wider).
Same histories, recipe and seed, same network. Refuses to know files and terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from trueline_cloud.learning.dataset import Windowed
from trueline_cloud.learning.lite import Int8
from trueline_cloud.learning.prediction.history import History, Questions, questions
from trueline_cloud.learning.prediction.network import build
from trueline_cloud.learning.quantise import operations, to_int8
from trueline_cloud.learning.train import TrainSettings, predict, train
from trueline_model.interval import Intervals, fit_intervals
from trueline_model.prediction import ANSWER, Predictor
from trueline_model.scale import FLOOR, Scale
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trueline_cloud.learning.train import Epoch
    from trueline_model.prediction import Prediction

__all__ = ["Foretold", "fit_prediction"]

_UNITS_MIN: Final = 10
_FOLDS: Final = 5
_BINS_MAX, _UNITS_A_BIN = 5, 20
_VALIDATED: Final = 8
"""One unit of so many says when to stop."""
_FLOOR: Final = 0.01
"""Of the target's span: no quantile is nearer to the mean, so that one lucky step makes no interval of nothing."""
_PER_LEAST: Final = 0.2
"""Of the usual mean: where hardly anything was counted in the window, its mean says little."""
_PER_RANGE, _ANSWERS = (0.01, 0.99), (-1.0, 2.0)
"""Quantiles of the parts that answers 0 and 1 stand for, and where a rare one ends."""
_IQR_OF_NORMAL: Final = 1.349


class Foretold(NamedTuple):
    """A prediction that was fitted.

    Attributes:
        predictor: the int8 network with its recipe.
        intervals: from `said`.
        tflite: the network's file.
        asked: all windows of the histories.
        said: (m, 3) lower quantile, mean and upper quantile for each, by a network that has not seen its unit.
        reference: (m, 3) the same by the float networks those were made of.
        fold: (m,) number of its fold.
        latency_us: of a bare invoke on this machine.
        operations: multiply-accumulates a window.
        history: rounds of the last training.
    """

    predictor: Predictor
    intervals: Intervals
    tflite: bytes
    asked: Questions
    said: NDArray[np.float64]
    reference: NDArray[np.float64]
    fold: NDArray[np.int64]
    latency_us: float
    operations: int
    history: list[Epoch]


class _Trained(NamedTuple):
    predictor: Predictor
    reference: Predictor
    tflite: bytes
    operations: int
    history: list[Epoch]


def fit_prediction(
    histories: Sequence[History],
    recipe: Prediction,
    settings: TrainSettings | None = None,
    *,
    bins: int | None = None,
    told: Callable[[str], None] = lambda _text: None,
) -> Foretold:
    """Train, once for each fold and once on all.

    Args:
        histories: ten units at least.
        recipe: of the prediction; its origin and span are set anew, from the targets.
        settings: of each training.
        bins: of the intervals, by prediction; left out: one for each twenty units, five at most. What is easy to
            predict, the long time before anything wears, must not make up for what is not.
        told: what is being done.

    Raises:
        ConfigError: too few units, or no window whose answer is known.
    """
    settings = settings or TrainSettings()
    asked = questions(histories, recipe)
    units = np.unique(asked.unit)
    if len(units) < _UNITS_MIN:
        raise ConfigError(f"{len(units)} units to learn from: at least {_UNITS_MIN} are wanted; cut a long one in time")
    recipe, floor = _ranged(recipe, asked)
    order = np.random.default_rng(settings.seed).permutation(units)
    said, fold = np.full((len(asked.target), ANSWER), np.nan), np.zeros(len(asked.target), np.int64)
    reference = said.copy()
    for number in range(_FOLDS):
        told(f"fold {number + 1} of {_FOLDS}")
        out = np.isin(asked.unit, order[number::_FOLDS])
        rest = [unit for unit in order if unit not in order[number::_FOLDS]]
        found = _trained(asked, rest, recipe, settings)
        said[out], reference[out] = (spread_of(each, asked, out) for each in (found.predictor, found.reference))
        fold[out] = number
    told("all units")
    whole = _trained(asked, list(order), recipe, settings)
    bins = bins or max(1, min(_BINS_MAX, len(units) // _UNITS_A_BIN))
    intervals = fit_intervals(said, asked.target, asked.unit, floor=floor, bins=bins)
    latency_us = Int8(whole.tflite, (ANSWER,)).latency_us()
    return Foretold(
        predictor=whole.predictor,
        intervals=intervals,
        tflite=whole.tflite,
        asked=asked,
        said=said,
        reference=reference,
        fold=fold,
        latency_us=latency_us,
        operations=whole.operations,
        history=whole.history,
    )


def spread_of(predictor: Predictor, asked: Questions, which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(m, 3) what a predictor says of some windows."""
    return predictor.spread_of(asked.value[which], asked.valid[which])


def _ranged(recipe: Prediction, asked: Questions) -> tuple[Prediction, float]:
    """The recipe with the range of its answers, and the floor of its intervals.

    Raises:
        ConfigError: there is no range.
    """
    spread = float(np.ptp(asked.target))
    if not spread > 0.0:
        raise ConfigError(f"{recipe.target} is {asked.target[0]:g} at all rows: there is nothing to predict")
    if recipe.per is None:
        return msgspec.structs.replace(recipe, origin=float(asked.target.min()), span=spread), _FLOOR * spread
    usual = msgspec.structs.replace(recipe, per_least=np.finfo(float).tiny).parts_of(asked.value, asked.valid).mean()
    if not usual > 0.0:
        raise ConfigError(f"what {recipe.target} shall be counted in parts of is nothing at all rows")
    recipe = msgspec.structs.replace(recipe, per_least=float(_PER_LEAST * usual))
    low, high = np.quantile(asked.target / recipe.parts_of(asked.value, asked.valid)[:, 0], _PER_RANGE)
    return msgspec.structs.replace(recipe, origin=float(low), span=float(high - low)), _FLOOR * spread


def _trained(asked: Questions, units: Sequence[int], recipe: Prediction, settings: TrainSettings) -> _Trained:
    """A network of some units; each eighth of them says when to stop."""
    validated = np.isin(asked.unit, units[::_VALIDATED])
    learnt = np.isin(asked.unit, units) & ~validated
    forms, good = recipe.forms(asked.value, asked.valid)
    scale = _scale(forms[learnt], good[learnt], recipe.clip)
    shape = forms.shape
    value = scale(forms.reshape(-1, shape[2]), good.reshape(-1, shape[2])).reshape(shape).astype(np.float32)
    whole = recipe.parts_of(asked.value, asked.valid)[:, 0]
    target = np.clip((asked.target / whole - recipe.origin) / recipe.span, *_ANSWERS).astype(np.float32)
    weight = (whole / whole.mean()).astype(np.float32)  # errors count in the target's unit
    windows = Windowed(value, good, target, weight)
    model, history = train(
        lambda: build(*shape[1:]),
        "spread",
        windows[np.flatnonzero(learnt)],
        windows[np.flatnonzero(validated)],
        settings,
    )
    tflite = to_int8(model, value[learnt], settings.seed)
    arrays, width = {"centre": scale.centre, "scale": scale.scale}, asked.value.shape[2]
    predictor = recipe.predictor(arrays, width, Int8(tflite, (ANSWER,)))
    reference = recipe.predictor(arrays, width, lambda window: predict(model, window))
    return _Trained(predictor, reference, tflite, operations(model), history)


def _scale(forms: NDArray[np.float64], good: NDArray[np.bool_], clip: float) -> Scale:
    """Median and robust deviation of each feature over the windows (m, rows, f)."""
    flat, seen = forms.reshape(-1, forms.shape[2]), good.reshape(-1, forms.shape[2])
    centre, scale = np.zeros(flat.shape[1]), np.ones(flat.shape[1])
    for j in range(flat.shape[1]):
        cells = flat[seen[:, j], j]
        if not len(cells):
            raise ConfigError(f"feature {j} has no valid value in any window: leave its channel out")
        lower, centre[j], upper = np.quantile(cells, [0.25, 0.5, 0.75])
        spread = (upper - lower) / _IQR_OF_NORMAL
        scale[j] = max(spread if spread > 0.0 else cells.std(), FLOOR * (float(np.abs(cells).max()) or 1.0))
    return Scale(centre, scale, clip)

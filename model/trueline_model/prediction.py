"""A model that predicts: what will be, or what is left, at each row, with intervals that hold it as often as they say.

Rows become steps of time, the last steps a window, the window features without unit, and a network says the target's
mean between two quantiles (0.05 and 0.95), which `interval` stretches to the coverage asked for. Promises, as detectors
do: training and serving share all of this; where a recording is cut into batches changes no bit; a cell that is not
valid changes nothing; a row whose time does not go forward is not looked at. Between two steps the last prediction
stands.
Refuses to predict from a window with too little in it, and to know what runs the network: that comes in as a callable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_model.arrays import array
from trueline_model.detector import Parts, Scored
from trueline_model.interval import STANDARD, Intervals
from trueline_model.scale import Scale
from trueline_model.steps import Steps
from trueline_model.windows import Windower
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_model.detector import State
    from trueline_model.detectors.network import Model
    from trueline_model.load import NetworkRunner
    from trueline_model.package import Package

__all__ = [
    "ANSWER",
    "KIND",
    "QUANTILES",
    "Feature",
    "Predicted",
    "Prediction",
    "Predictor",
    "Rehearsal",
    "prediction_of",
]

KIND: Final = "prediction"
"""Of a package that holds one, where a detector's package says which detector."""

QUANTILES: Final = (0.05, 0.95)
"""Of the target, as a network says them, on both sides of the mean."""

ANSWER: Final = 3
"""Numbers a network says: lower quantile, mean, upper quantile."""

_BLOCK: Final = 64
_NEVER: Final = np.iinfo(np.int64).min


class Feature(msgspec.Struct, frozen=True, array_like=True):
    """What a network sees of an input.

    Attributes:
        input: its number.
        form: its "level", or the "log" of it; its "change" from its mean over the window, or that of its logarithm: the
            "ratio"; its "share" of that mean, where it may be 0.
    """

    input: int
    form: Literal["level", "log", "change", "ratio", "share"] = "level"


class Prediction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recipe: how rows go into a network, and what comes out.

    Attributes:
        target: what is predicted, in words.
        unit: UCUM code of it.
        rows: steps of a window.
        step_s: length of a step; 0: each row is one.
        features: what the network sees, in order.
        origin: the target is origin + span * what the network says, both in the target's unit,
        span: and this above 0;
        per: number of an input, if the network says parts of that input's mean over the window: consumers of all sizes
            are then alike (D. Salinas et al., "DeepAR", 2020);
        per_least: no smaller mean is taken, in the input's unit;
        least: and never below this,
        most: or above that: where the upper end is there, it means "or more".
        valid_min: share of a window's cells that must be valid; of its last step, one must be.
        clip: largest magnitude of a feature, in its scales.
    """

    target: str
    unit: str
    rows: int
    features: tuple[Feature, ...]
    origin: float
    span: float
    step_s: float = 0.0
    least: float | None = None
    most: float | None = None
    per: int | None = None
    per_least: float = 1.0
    valid_min: float = 0.5
    clip: float = 6.0

    def __post_init__(self) -> None:
        if self.rows < 1 or not self.features or min(feature.input for feature in self.features) < 0:
            raise ValueError(
                f"rows {self.rows} and {len(self.features)} features of inputs from 0 on must be at least 1"
            )
        if not 0.0 < self.span < math.inf or not math.isfinite(self.origin) or not 0.0 <= self.step_s < math.inf:
            raise ValueError(f"span {self.span}, origin {self.origin}, step_s {self.step_s}: numbers, span above 0")
        if (self.per is not None and self.per < 0) or not 0.0 < self.per_least < math.inf:
            raise ValueError(f"per {self.per} must be the number of an input, per_least {self.per_least} above 0")
        if not 0.0 < self.valid_min <= 1.0 or not self.clip > 0.0:
            raise ValueError(f"valid_min {self.valid_min} must be above 0 and at most 1, clip {self.clip} above 0")
        if self.least is not None and self.most is not None and not self.least < self.most:
            raise ValueError(f"least {self.least} must be below most {self.most}")

    @property
    def steps(self) -> Steps:
        """How rows become steps."""
        return Steps(round(self.step_s * 1e9), self.rows)

    def forms(
        self, value: NDArray[np.float64], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Windows (m, rows, k) as features (m, rows, f), and which of them are valid."""
        which = [feature.input for feature in self.features]
        cells, good = value[:, :, which], valid[:, :, which].copy()
        logs = np.array([feature.form in {"log", "ratio"} for feature in self.features])
        good &= ~logs | (cells > 0.0)
        cells = np.where(good, cells, 1.0)
        cells = np.where(logs, np.log(np.where(logs, cells, 1.0)), cells)
        mean = _means(cells, good)
        moves = np.array([feature.form in {"change", "ratio"} for feature in self.features])
        shares = np.array([feature.form == "share" for feature in self.features])
        good &= ~shares | (mean > 0.0)[:, None]
        cells = cells / np.where(shares & (mean > 0.0), mean, 1.0)[:, None]
        return np.where(good, cells - np.where(moves, mean, 0.0)[:, None], 0.0), good

    def parts_of(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(m, 1) what the target of windows (m, rows, k) is counted in parts of."""
        if self.per is None:
            return np.ones((len(value), 1))
        some = slice(self.per, self.per + 1)
        return np.maximum(_means(value[:, :, some], valid[:, :, some]), self.per_least)

    def clipped(self, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """Into what the target can be."""
        least, most = (-math.inf if self.least is None else self.least), (math.inf if self.most is None else self.most)
        return np.clip(target, least, most)

    def predictor(self, arrays: Mapping[str, NDArray[Any]], width: int, model: Model) -> Predictor:
        """The predictor of this recipe around a network.

        Raises:
            ConfigError: centre or scale is missing or of another shape, or a feature is of an input there is not.
        """
        highest = max(*(feature.input for feature in self.features), self.per or 0)
        if highest >= width:
            raise ConfigError(f"a feature of input {highest}, and there are {width}")
        centre = array(arrays, "centre", 1, (len(self.features),))
        scale = array(arrays, "scale", 1, (len(self.features),))
        if not np.all(scale > 0.0):
            raise ConfigError("the array scale holds one that is not above 0: make the package again")
        return Predictor(self, width, Scale(centre, scale, self.clip), model)


class Predicted(NamedTuple):
    """What is said of a batch; NaN where nothing can be.

    Attributes:
        spread: (n, 3) lower quantile, mean and upper quantile of the target, in its unit, as the network says them but
            rising; not yet `clipped`.
        state: goes into the next call.
    """

    spread: NDArray[np.float64]
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A recipe with its network.

    Attributes:
        recipe: see there.
        width: inputs of a row.
        scale: of the features.
        model: (m, rows, f) float32 in scales -> (m, 3).
    """

    recipe: Prediction
    width: int
    scale: Scale
    model: Model

    def __call__(
        self,
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        valid: NDArray[np.bool_],
        state: State | None = None,
    ) -> Predicted:
        """Predict at each row of a batch that follows the one `state` came from.

        Args:
            time_ns: (n,), may step back.
            value: (n, k), the inputs' units, in their order.
            valid: (n, k), False where the cell means nothing.
            state: None at a start.
        """
        n, state = len(time_ns), state or None
        spread = np.full((n, ANSWER), np.nan)
        if not n:
            return Predicted(spread, state or {})
        last = _NEVER if state is None else int(state["last_ns"])
        reached = np.maximum.accumulate(np.concatenate([[last], time_ns]))
        rows = np.flatnonzero(time_ns > reached[:-1])
        held = np.full((1, ANSWER), np.nan) if state is None else state["held"]
        stepped = self.recipe.steps.push(time_ns[rows], value[rows], valid[rows], _part(state, "steps."))
        windows = Windower(self.recipe.rows).push(stepped.value, stepped.valid, _part(state, "windows."))
        every = np.concatenate([held, self._said(windows.value, windows.valid)])
        which = np.searchsorted(stepped.row[windows.last_row], np.arange(len(rows)), side="right")
        spread[rows] = every[which]
        left = {"last_ns": reached[-1:].reshape(()), "held": every[-1:].copy()}
        left |= {f"steps.{name}": part for name, part in stepped.state.items()}
        left |= {f"windows.{name}": part for name, part in windows.state.items()}
        return Predicted(spread, left)

    def inputs_of(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What the network sees of windows (m, rows, k): (m, rows, f)."""
        forms, good = self.recipe.forms(value, valid)
        shape = forms.shape
        return self.scale(forms.reshape(-1, shape[2]), good.reshape(-1, shape[2])).reshape(shape).astype(np.float32)

    def _said(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(m, 3) of windows; NaN where too little is in one."""
        said = np.full((len(value), ANSWER), np.nan)
        recipe = self.recipe
        enough = (valid.mean(axis=(1, 2)) >= recipe.valid_min) & valid[:, -1].any(axis=1)
        speaks = np.flatnonzero(enough)
        for start in range(0, len(speaks), _BLOCK):
            some = speaks[start : start + _BLOCK]
            said[some] = self.spread_of(value[some], valid[some])
        return said

    def spread_of(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(m, 3) what the network says of windows (m, rows, k), in the target's unit."""
        answer = np.asarray(self.model(self.inputs_of(value, valid)), np.float64)
        recipe = self.recipe
        return np.sort((recipe.origin + recipe.span * answer) * recipe.parts_of(value, valid), axis=1)

    def parts(self) -> Parts:
        """What to keep of it in a package."""
        arrays = {"centre": self.scale.centre, "scale": self.scale.scale}
        return Parts(KIND, msgspec.to_builtins(self.recipe), arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """A predictor as a `Detector` whose rows come `interval_s` apart and whose score is the mean: for trials."""

    predictor: Predictor
    interval_s: float
    warm_up: ClassVar[int] = 0

    @property
    def width(self) -> int:
        """As `Detector`."""
        return self.predictor.width

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        step_ns = round(max(self.interval_s, self.predictor.recipe.step_s) * 1e9)
        first = 0 if not state else int(state["last_ns"]) // step_ns + 1
        said = self.predictor((first + np.arange(len(value))) * step_ns, value, valid, state)
        return Scored(said.spread[:, 1], np.zeros(value.shape), said.state)

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.predictor.parts()


def prediction_of(package: Package, run: NetworkRunner) -> tuple[Predictor, Intervals]:
    """The predictor of a package, and its intervals.

    Args:
        package: see there.
        run: what runs a network.

    Raises:
        NeverRetry: the package does not fit together, or holds a detector.
    """
    manifest = package.manifest
    if manifest.kind != KIND:
        raise NeverRetry(f"{manifest.file_name} detects ({manifest.kind}) and predicts nothing: use the stage detect")
    try:
        recipe = msgspec.convert(manifest.settings, Prediction)
        model = run(package.network, (recipe.rows, len(recipe.features)), (ANSWER,))
        predictor = recipe.predictor(package.arrays, len(manifest.inputs), model)
        intervals = Intervals.from_arrays(package.calibration)
        intervals.stretch(STANDARD)  # without it no prediction has its u
    except (ConfigError, ValueError) as error:  # what msgspec refuses is one of the latter
        raise NeverRetry(f"{manifest.file_name}: {error}") from error
    return predictor, intervals


def _part(state: State | None, prefix: str) -> State | None:
    found = {name.removeprefix(prefix): part for name, part in (state or {}).items() if name.startswith(prefix)}
    return found or None


def _means(cells: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(m, f) of windows (m, rows, f) over what is good, 0 where nothing is; each sum in the order of time."""
    total, count = np.zeros((len(cells), cells.shape[2])), np.zeros((len(cells), cells.shape[2]))
    for row in range(cells.shape[1]):  # whatever comes with a window changes no bit of its sum
        total += np.where(good[:, row], cells[:, row], 0.0)
        count += good[:, row]
    return np.asarray(np.divide(total, count, out=np.zeros(total.shape), where=count > 0))

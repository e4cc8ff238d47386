"""EWMA chart: small shifts that last, beside slow drift, from a training part that may be short.

Each channel is smoothed (Roberts, Technometrics 1 (1959)) and compared with a reference that follows it `memory_rows`
behind: what drifts slowly is normal. The spread of that difference is measured in training, autocorrelation and all
(Zhang, Technometrics 40 (1998)), so a channel that wanders is forgiven more than one that only hisses. How well the
spread is known depends on how many independent observations training held: its rows over the autocorrelation time
(Sokal, Functional Integration (1997), 131-192). So a deviation t is judged by Student's t with that many degrees of
freedom, as u^2 = nu ln(1 + t^2 / nu), corrected after Wallace (Ann. Math. Stat. 30 (1959)): about chi-square with one
degree. Five turns of a temperature are no ground to call the sixth impossible; three hundred readings of a flow are.

The reference follows less, the stranger a channel and the row are (after Gelper, Fried and Croux, J. Forecasting 29
(2010)): trouble does not become normal while it lasts, unless it is small enough to be drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["Chart", "ChartDetector", "autocorrelation_rows"]

_NORMAL = 3.84
"""95 % of chi-square with one degree: what is below counts as normal, and the reference follows it whole."""

_SHRUNK = 0.1
"""Of the correlations measured, so much is taken for chance (after Ledoit and Wolf)."""

_WINDOW = 5.0
"""Autocorrelation is summed over so many times its own time (Sokal)."""


class Chart(DetectorSettings, frozen=True, kw_only=True, tag="chart"):
    """Settings of the chart.

    Attributes:
        smoothing: weight of the newest row, above 0 and at most 1; smaller finds smaller shifts, later.
        memory_rows: time constant of the reference; 0 for one that stays at the centre of training.
        power: 2 for the mean u^2 of the channels, which one strange channel of many can raise; 1 for the mean |u|, for
            which several must agree: one channel that drifted further than ever in training says less.
    """

    smoothing: float = 0.2
    memory_rows: int = 50
    power: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.smoothing <= 1.0:
            raise ValueError(f"smoothing {self.smoothing} must be above 0 and at most 1")
        if self.memory_rows < 0 or 0 < self.memory_rows * self.smoothing < 1.0:
            raise ValueError(f"memory_rows {self.memory_rows} must be 0, or more than smoothing remembers")

    def fit(self, series: Sequence[Series], seed: int = 0) -> ChartDetector:  # noqa: ARG002 - nothing is drawn
        """Spread and degrees of freedom of the training part; a cell that is not valid counts as no deviation."""
        scale, z, _ = training(self, series)
        scaled = [scale(each.value, each.valid) for each in series]
        centre = Begun(np.zeros(z.shape[1]), np.zeros(z.shape[1]))
        together = np.zeros((z.shape[1], z.shape[1]))
        for part, each in zip(scaled, series, strict=True):
            difference, _ = self.follow(part, each.valid, centre, None)
            together += difference.T @ difference
        squares = np.diag(together)
        white = self.smoothing / (2.0 - self.smoothing)  # of a channel at rest, by the floor of its scale
        variance = np.where(squares > 0.0, squares / len(z), white)
        independent = len(z) / autocorrelation_rows(scaled)
        freedom = np.maximum(independent - 1.0, 1.0)
        moves = np.sqrt(np.where(squares > 0.0, squares, 1.0))
        correlation = (1.0 - _SHRUNK) * together / np.outer(moves, moves)
        np.fill_diagonal(correlation, 1.0)
        return ChartDetector(self, scale, variance * (independent + 1.0) / freedom, freedom, correlation)

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> ChartDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        shape = scale.centre.shape
        variance, freedom = array(arrays, "variance", 1, shape), array(arrays, "freedom", 1, shape)
        correlation = array(arrays, "correlation", 2, shape * 2)
        if not (np.all(variance > 0.0) and np.all(freedom > 0.0) and np.linalg.eigvalsh(correlation)[0] > 0.0):
            raise ConfigError("variance, freedom and correlation of the chart must be above 0: make the package again")
        return ChartDetector(self, scale, variance, freedom, correlation)

    def follow(
        self, z: NDArray[np.float64], valid: NDArray[np.bool_], begun: Begun, judge: Judge | None
    ) -> tuple[NDArray[np.float64], Begun]:
        """How far each channel is from its reference, (n, k), and where both are then.

        Args:
            z: (n, k), in scales.
            valid: (n, k); a channel not there stays where it is.
            begun: where they are before.
            judge: says how strange a difference is; None while nobody knows: then the reference follows all.
        """
        out = np.empty(z.shape)
        smooth, reference = begun
        weights = self.smoothing * valid
        follows = valid / self.memory_rows if self.memory_rows else np.zeros(valid.shape)
        count = np.maximum(valid.sum(axis=1), 1)
        for i, row in enumerate(z):
            smooth = smooth + weights[i] * (row - smooth)
            difference = out[i] = smooth - reference
            if self.memory_rows:
                weight = follows[i]
                if judge is not None:
                    strange = judge(difference)
                    mean = float(strange @ valid[i]) / count[i]
                    weight = weight / np.maximum(strange, _NORMAL) * (_NORMAL * _NORMAL / max(mean, _NORMAL))
                reference = reference + weight * (row - reference)
        return out, Begun(smooth, reference)


class Begun(NamedTuple):
    """Where the smoothed channels (k,) and their references (k,) are, in scales."""

    smooth: NDArray[np.float64]
    reference: NDArray[np.float64]


class Judge:
    """u^2 of Student's t: about chi-square with one degree of freedom (Wallace 1959).

    Args:
        variance: (k,) of the difference from the reference.
        freedom: (k,) degrees of freedom it is known with.
    """

    def __init__(self, variance: NDArray[np.float64], freedom: NDArray[np.float64]) -> None:
        self._factor = ((8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)) ** 2 * freedom
        self._spread = 1.0 / (variance * freedom)

    def __call__(self, difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of differences (..., k)."""
        return np.asarray(self._factor * np.log1p(difference * difference * self._spread))


@dataclass(frozen=True, slots=True, eq=False)
class ChartDetector(ScaledDetector[Chart]):
    """Fitted scale; of the difference from the reference variance, degrees of freedom (k,), and correlation (k, k)."""

    variance: NDArray[np.float64]
    freedom: NDArray[np.float64]
    correlation: NDArray[np.float64]

    @property
    def warm_up(self) -> int:
        """As `Detector`: it starts at the centre of training, and is quiet there."""
        return 0

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`: the mean u^2 or |u| of the channels there, about 1 in normal running."""
        nothing = np.zeros(self.width)
        begun = Begun(nothing, nothing) if state is None else Begun(state["smooth"], state["reference"])
        judge = Judge(self.variance, self.freedom)
        difference, ended = self.recipe.follow(self.scale(value, valid), valid, begun, judge)
        count = valid.sum(axis=1, keepdims=True)
        contribution = np.full(valid.shape, np.nan)
        np.divide(np.where(valid, self._counted(judge(difference)), 0.0), count, out=contribution, where=count > 0)
        return judged(contribution, ended._asdict())

    def imagined(self, rows: int, seed: int = 0) -> NDArray[np.float64]:
        """Scores (rows,) of normal running as the chart's own model has it, for rates too rare to be counted.

        What it has been said to know is u, nearly normal with unit variance; channels go together as in training, and
        rows as an EWMA of independent ones do (Roberts 1959), which makes as many events of a given share of rows as
        can be.
        """
        rng = np.random.default_rng(seed)
        root = np.linalg.cholesky(self.correlation)
        memory = 1.0 - self.recipe.smoothing
        shock = rng.standard_normal((rows, self.width)) @ root.T
        shock[1:] *= np.sqrt(1.0 - memory**2)
        for i in range(1, rows):
            shock[i] += memory * shock[i - 1]
        return np.asarray(self._counted(shock**2).mean(axis=1))

    def _counted(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sqrt(squares) if self.recipe.power == 1 else squares

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(variance=self.variance, freedom=self.freedom, correlation=self.correlation)


def autocorrelation_rows(scaled: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rows that say as much as one independent row, per channel: (k,), at least 1.

    Args:
        scaled: recordings (n, k), none follows another.
    """
    longest = max(map(len, scaled))
    centre = np.concatenate(scaled).mean(axis=0)
    covariance = np.zeros((longest, scaled[0].shape[1]))
    for part in scaled:
        spectrum = np.fft.rfft(part - centre, 2 * longest, axis=0)
        covariance += np.fft.irfft(np.abs(spectrum) ** 2, 2 * longest, axis=0)[:longest]
    at_rest = covariance[0] <= 0.0
    total = 2.0 * np.cumsum(covariance / np.where(at_rest, 1.0, covariance[0]), axis=0) - 1.0
    enough = np.arange(longest)[:, None] >= _WINDOW * total
    enough[-1] = True
    return np.where(at_rest, 1.0, np.maximum(total[enough.argmax(axis=0), np.arange(len(centre))], 1.0))

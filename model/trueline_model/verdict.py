"""What an event is: a sensor at fault, or something that happens to the process; and which channel, and what kind.

A sensor that fails moves alone, against its redundancy and its neighbours; a process that goes wrong moves several
channels together, as they move together in normal running or as they never did. So: of the window that raised the event
and the one before it, each channel gives two features, how far its mean moved and how far its noise did. Their
covariance in normal running says how strange the whole is (Mahalanobis' D squared), and how strange what is left is
when one channel is taken out: the reconstruction of Dunia, Qin, Edgar and McAvoy (AIChE J. 42 (1996)). Where without
one channel the others run as they do in normal running, that sensor is at fault; where they do not, the process is.

Promises: the window before is the reference, so slow drift of the process since training does not matter. Refuses to
say more than the channels can: one that nothing else follows in normal running cannot be told from its process when it
moves alone, and its verdict has the confidence of a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from trueline_model.arrays import array
from trueline_model.conformal import Calibration, calibrate
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.series import Series

__all__ = ["Judge", "Kind", "Verdict", "fit_judge"]

Kind = Literal["nan_run", "stuck", "spike", "noise_increase", "drift", "bias_step", ""]
"""Kinds of sensor fault told apart, by the names simulators label them with. A gain change, a saturation, a unit
flip and swapped channels show as the `bias_step` they begin with, a burst as `noise_increase`; "" for the process."""

_NOISE_FLOOR: Final = 0.05  # of the training noise variance, so that silence is no infinite change
_CLIP: Final = 6.0
_SHRINK: Final = 0.05
_HALF: Final = 0.5
_USUAL: Final = 3.0  # decades: rarer than one window in a thousand of normal running, the rest is strange too
_OUT: Final = 5.0
_LOUDER: Final = 3.0
_SPIKE_ROWS: Final = 2


class Verdict(NamedTuple):
    """What an event is.

    Attributes:
        what: whose trouble it is.
        channel: number of the sensor at fault, or the channel that moved most.
        kind: of the sensor's fault; "" for the process.
        confidence: 0.5 (a guess) to 1; how far the others are from the bound that decides. Not a probability.
        share: (k,) how much of the strangeness goes when each channel is taken out, 0 to 1.
    """

    what: Literal["sensor fault", "process anomaly"]
    channel: int
    kind: Kind
    confidence: float
    share: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What windows of normal running look like.

    Attributes:
        rows: of each of the two windows.
        noise: (k,) mean squared difference of neighbouring rows, the channels' units squared.
        centre: (2 k,) medians of the features.
        scale: (2 k,) robust deviations of the features.
        precision: (2 k, 2 k) inverse covariance of scaled features.
        rest: how strange normal windows are without the channel that explains most of them.
    """

    rows: int
    noise: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    precision: NDArray[np.float64]
    rest: Calibration

    def verdict(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> Verdict:
        """The verdict on an event.

        Args:
            value: (2 rows, k): the window before the event, then the one that raised it.
            valid: (2 rows, k).

        Raises:
            ValueError: another number of rows or channels.
        """
        width = len(self.noise)
        if value.shape != (2 * self.rows, width) or valid.shape != value.shape:
            raise ValueError(f"a verdict wants ({2 * self.rows}, {width}) cells, not {value.shape}")
        gone = ~valid[self.rows :].any(axis=0)
        if gone.any() and not gone.all():
            return Verdict("sensor fault", int(gone.argmax()), "nan_run", 1.0, gone / gone.sum())
        held = _held(value, valid)
        deviation = (_features(held, self.rows, self.noise)[0] - self.centre) / self.scale
        left, whole = _without(deviation[None, :], self.precision)
        share = np.clip(1.0 - left[0] / max(float(whole[0]), 1e-12), 0.0, 1.0)
        channel = int(share.argmax())
        strange = float(self.rest.surprise(left[:, channel])[0])
        confidence = min(1.0, _HALF + _HALF * abs(strange - _USUAL) / _USUAL)
        if strange >= _USUAL:
            return Verdict("process anomaly", channel, "", confidence, share)
        kind = _kind(held[:, channel], valid[:, channel], self.rows, float(self.noise[channel]))
        # How well the others foretell this channel: what nothing foretells may move alone and be right.
        followed = 1.0 - 1.0 / max(float(self.precision[channel, channel]), 1.0)
        return Verdict("sensor fault", channel, kind, min(confidence, _HALF + _HALF * followed), share)

    def strangeness(self, series: Series) -> NDArray[np.float64]:
        """D squared of the two windows that end at each row, (n,); NaN before there are two."""
        out = np.full(len(series), np.nan)
        if len(series) >= 2 * self.rows:
            found = _features(_held(series.value, series.valid), self.rows, self.noise)
            out[2 * self.rows - 1 :] = _without((found - self.centre) / self.scale, self.precision)[1]
        return out

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What to keep of it in a package."""
        kept = {"noise": self.noise, "centre": self.centre, "scale": self.scale, "precision": self.precision}
        rest = {f"rest.{name}": values for name, values in self.rest.arrays().items()}
        return {"rows": np.array(float(self.rows)), **kept, **rest}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Judge:
        """The judge whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        noise = array(arrays, "noise", 1)
        two = 2 * len(noise)
        centre, scale = array(arrays, "centre", 1, (two,)), array(arrays, "scale", 1, (two,))
        precision = array(arrays, "precision", 2, (two, two))
        rest = {name.removeprefix("rest."): values for name, values in arrays.items() if name.startswith("rest.")}
        return cls(int(array(arrays, "rows", 0)), noise, centre, scale, precision, Calibration.from_arrays(rest))


def fit_judge(series: Sequence[Series], rows: int = 30) -> Judge:
    """A judge of normal running.

    Raises:
        ConfigError: fewer than ten windows' worth of rows.
    """
    long = [each for each in series if len(each) >= 2 * rows]
    if sum(map(len, long)) < 10 * rows:
        raise ConfigError(
            f"a judge with windows of {rows} rows wants {10 * rows} rows of normal running without a break, "
            f"not {sum(map(len, series))}"
        )
    held = [_held(each.value, each.valid) for each in long]
    noise = np.mean(np.concatenate([np.diff(each, axis=0) ** 2 for each in held]), axis=0)
    noise = np.maximum(
        noise, 1e-12 * np.maximum(np.max([np.abs(each).max(axis=0) for each in held], axis=0), 1e-9) ** 2
    )
    found = np.concatenate([_features(each, rows, noise) for each in held])
    centre = np.median(found, axis=0)
    # A robust deviation, but not below a fifth of the plain one: features with rare large moves have wide tails.
    scale = np.quantile(np.abs(found - centre), 0.9, axis=0) / 1.645
    scale = np.maximum(np.maximum(scale, 0.2 * found.std(axis=0)), 1e-9)
    z = np.clip((found - centre) / scale, -_CLIP, _CLIP)
    covariance = (1.0 - _SHRINK) * z.T @ z / len(z) + _SHRINK * np.eye(z.shape[1])
    precision = np.linalg.inv(covariance)
    left, _ = _without((found - centre) / scale, precision)
    return Judge(rows, noise, centre, scale, precision, calibrate(left.min(axis=1)))


def _without(
    deviation: NDArray[np.float64], precision: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """D squared of scaled features (n, 2 k) without each channel, (n, k), and with all, (n,)."""
    pulled = deviation @ precision
    whole = np.sum(deviation * pulled, axis=1)
    width = len(precision) // 2
    left = np.empty((len(deviation), width))
    for j in range(width):
        own = [j, width + j]
        part = pulled[:, own]
        left[:, j] = whole - np.sum(part * np.linalg.solve(precision[np.ix_(own, own)], part.T).T, axis=1)
    return np.maximum(left, 0.0), whole


def _held(value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each cell that is not valid holds the last valid one of its channel, else the first: no move, no noise."""
    row = np.where(valid, np.arange(len(value))[:, None], -1)
    row = np.maximum.accumulate(row, axis=0)
    row = np.where(row < 0, valid.argmax(axis=0), row)
    return np.where(valid.any(axis=0), np.take_along_axis(np.where(valid, value, 0.0), row, axis=0), 0.0)


def _features(held: NDArray[np.float64], rows: int, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves of mean and of log noise from one window to the next, (n - 2 rows + 1, 2 k)."""
    zero = np.zeros((1, held.shape[1]))
    level = np.cumsum(np.concatenate([zero, held - held[0]]), axis=0)
    mean = (level[rows:] - level[:-rows]) / rows
    rough = np.cumsum(np.concatenate([zero, zero, np.diff(held, axis=0) ** 2]), axis=0)
    square = np.maximum(rough[rows:] - rough[:-rows], 0.0) / rows
    loud = np.log(square + _NOISE_FLOOR * noise)
    return np.concatenate([mean[rows:] - mean[:-rows], loud[rows:] - loud[:-rows]], axis=1)


def _kind(held: NDArray[np.float64], valid: NDArray[np.bool_], rows: int, noise: float) -> Kind:
    """The kind of fault of one channel, (2 rows,), from its window after the one before."""
    before, now = held[:rows], held[rows:]
    if valid[rows:].mean() < _HALF:
        return "nan_run"
    if np.ptp(now[rows // 3 :]) == 0.0 and np.ptp(before) > 0.0:
        return "stuck"
    sigma = np.sqrt(noise / 2.0)
    out = np.abs(now - np.median(now)) > _OUT * max(sigma, float(np.std(np.diff(before)) / np.sqrt(2.0)))
    if 1 <= out.sum() <= _SPIKE_ROWS:
        return "spike"
    steps = np.sort(np.abs(np.diff(now)))[:-1]  # without the step itself
    if np.mean(steps**2) > _LOUDER * noise:
        return "noise_increase"
    third = rows // 3
    start, end = now[:third].mean() - before.mean(), now[-third:].mean() - before.mean()
    return "drift" if abs(end - start) > 0.5 * abs(end) and abs(start) < abs(end) else "bias_step"

"""A calibration from pairs and a datasheet: what the pairs cannot tell, the datasheet's tolerances do.

Beside a reference in the field a quantity often hardly moves: least squares then finds a slope in the noise, and is
wrong as soon as the quantity goes elsewhere. A datasheet says how far a slope can be off at all. Both together are a
Bayesian linear regression (Gelman et al., "Bayesian Data Analysis", 3rd ed. 2013, sect. 14.8; JCGM 101:2008, 6.4.2: a
tolerance is a rectangle, of variance a^2 / 3).

    raw - truth = offset + slope (truth - centre) + sum of c_j (condition_j - centre_j) + error

The reading is regressed on the reference and the line turned round afterwards (JCGM 100:2008, H.3), never the other
way about: where the quantity hardly moves, readings differ by their noise, and a line through noise on both axes says
that the sensor shows nothing. What noise the reference has itself is known, and taken out of its differences
(regression calibration: Carroll et al., "Measurement Error in Nonlinear Models", 2nd ed. 2006, ch. 4).

A sensor with play shows what the play operator makes of the quantity, which beside a reference can be had exactly, but
for where it lay at first: the reading is regressed on that, once the quantity has moved far enough to tell.

Errors of successive readings are alike (1/f noise, lag): so means over blocks are compared, whose scatter says how
much such a mean is worth. Promises: arrays in, arrays out; k sensors at once. Refuses to know files and clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.play import play_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Informed", "Tolerance", "fit_informed"]

_BLOCKS = 40
"""Means that are compared; fewer where there are fewer than four readings in each."""
_ROUNDS = 3
_PAIRS_MIN = 8
"""Two blocks of four."""
_NEVER, _TINY = 1e-18, 1e-30
"""Of the largest difference, squared: nothing is known better, and no weight is infinite."""
_INFLATE = 2.0
"""Scatter of block means counts twice: neighbouring blocks are not independent either."""


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the datasheet says, in the channel's unit; zero means: it cannot be.

    Attributes:
        offset: half-width of the error at `pivot`, in nominal conditions; zero: nothing is known.
        pivot: value at which an error of the slope makes none.
        gain: half-width of the relative error of the slope, nonlinearity and all.
        conditions: half-width of the effect of each condition, for one unit of it.
        nominal: the conditions the datasheet speaks of.
        noise: standard deviation of a single reading, resolution and all; zero: nothing is known.
        slow: standard deviation of what changes too slowly to be averaged (1/f noise): no less is believed.
        play: half-width of the play (hysteresis), in the reference's unit.
        lowest: end of the sensor's range: readings there, or beyond, are cut off, and say nothing.
        highest: its other end.
    """

    offset: float = 0.0
    pivot: float = 0.0
    gain: float = 0.0
    conditions: tuple[float, ...] = ()
    nominal: tuple[float, ...] = ()
    noise: float = 0.0
    slow: float = 0.0
    play: float = 0.0
    lowest: float = -np.inf
    highest: float = np.inf


class Informed(NamedTuple):
    """What was found about k sensors.

    Attributes:
        offset: (k,) corrected value at the centres.
        gain: (k,) corrected units per raw unit.
        conditions: (k, c) corrected units per unit of each condition.
        centre: (k,) raw value the offset belongs to.
        centres: (k, c) of the conditions.
        covariance: (k, 2 + c, 2 + c) of offset, gain, conditions; with the variance of the reference's own offset.
        noise: (k,) standard deviation from one reading to the next.
        slow: (k,) standard deviation of what successive readings have in common, beside the parameters.
    """

    offset: Array
    gain: Array
    conditions: Array
    centre: Array
    centres: Array
    covariance: Array
    noise: Array
    slow: Array


def fit_informed(
    raw: Array,
    reference: Array,
    conditions: Array,
    tolerance: Tolerance,
    *,
    reference_u: float = 0.0,
    reference_noise: float = 0.0,
) -> Informed:
    """Compare k sensors with their references.

    Args:
        raw: (n, k) in order of time; NaN where nothing was measured.
        reference: (n, k) what the reference said.
        conditions: (n, k, c) what surrounded the sensor.
        tolerance: of the datasheet.
        reference_u: standard uncertainty of the reference that averaging does not take away.
        reference_noise: its standard deviation from reading to reading.

    A sensor of which fewer than eight readings can be used (it stood at the end of its range) keeps what its datasheet
    says, where that states offset and noise.

    Raises:
        ValueError: fewer than eight readings of a sensor whose datasheet does not say enough.
    """
    there = np.isfinite(raw) & np.isfinite(reference) & np.isfinite(conditions).all(axis=2)
    there &= (raw > tolerance.lowest) & (raw < tolerance.highest)
    reference, settled, moved, hidden = _shown(reference, tolerance)
    there &= settled
    few = there.sum(axis=0) < _PAIRS_MIN
    if len(raw) < _PAIRS_MIN or (few.any() and not (tolerance.offset > 0.0 and tolerance.noise > 0.0)):
        raise ValueError(
            f"at least {_PAIRS_MIN} pairs of each sensor are wanted, or a datasheet that states offset and noise"
        )
    there &= ~few
    raw, reference = np.where(there, raw, 0.0), np.where(there, reference, 0.0)
    conditions = np.where(there[..., None], conditions, 0.0)
    blocks, count = _blocks(there)
    present, number = count > 0.0, np.maximum(there.sum(axis=0), 1)
    nominal = np.array(tolerance.nominal) if tolerance.nominal else np.zeros(conditions.shape[2])
    centres = np.where(few[:, None], nominal, conditions.sum(axis=0) / number[:, None])
    noises = reference_noise * np.sqrt(moved)
    shown, centre = _means(raw, blocks, count), np.where(few, tolerance.pivot, raw.sum(axis=0) / number)
    middle = np.where(few, tolerance.pivot, reference.sum(axis=0) / number)
    truth, trusted = _regressor(_means(reference, blocks, count), count, middle, noises)
    around = np.where(present[..., None], _means(conditions, blocks, count) - centres, 0.0)
    x = np.concatenate([present[..., None] * 1.0, truth[..., None], around], axis=2)  # (b, k, p)
    y = np.where(present, shown - truth - middle, 0.0)
    prior = _prior(tolerance, middle, nominal - centres, reference_u)
    at_least = (tolerance.noise**2 + trusted * noises**2) / np.maximum(count, 1.0) + 0.5 * tolerance.slow**2
    at_least = np.maximum(at_least, _NEVER * np.square(y).max() + _TINY)
    variance = at_least
    for _ in range(_ROUNDS):
        weight = np.where(present, 1.0 / variance, 0.0)
        covariance = np.linalg.inv(np.einsum("bk,bki,bkj->kij", weight, x, x) + prior)
        found = np.einsum("kij,bk,bkj,bk->ki", covariance, weight, x, y)
        scatter = (np.where(present, y - np.einsum("bki,ki->bk", x, found), 0.0) ** 2).sum(axis=0)
        scatter /= np.maximum(present.sum(axis=0), 1)
        variance = np.maximum(at_least, _INFLATE * scatter)
    gain = 1.0 / (1.0 + found[:, 1])
    here = np.concatenate([reference[..., None] - middle[:, None], conditions - centres], axis=2)
    left = raw - reference - found[:, 0] - np.einsum("nkj,kj->nk", here, found[:, 1:])
    noise, slow = _errors(np.where(there | few, left, np.nan), tolerance, noises * (1.0 + found[:, 1]))
    noise, slow = np.where(few, tolerance.noise, noise), np.where(few, tolerance.slow, slow)
    offset = middle + (centre - middle - found[:, 0]) * gain
    return Informed(
        offset,
        gain,
        -gain[:, None] * found[:, 2:],
        centre,
        centres,
        _turned(covariance, found, gain, offset - middle, np.hypot(reference_u, hidden)),
        noise * gain,
        slow * gain,
    )


def _shown(reference: Array, tolerance: Tolerance) -> tuple[Array, NDArray[np.bool_], Array, Array]:
    """What a sensor with that play is shown of the quantity: the reference itself, where there is none.

    Returns:
        (n, k) the reference as the play passes it on; (n, k) is it known which of all that are possible; (k,) in what
        share of the rows it moved, the reference's noise with it; and (k,) the standard uncertainty of all of it, where
        the quantity never moved far enough to tell.
    """
    if not tolerance.play > 0.0:
        return reference, np.ones(reference.shape, np.bool_), np.ones(1), np.zeros(1)
    low, high = play_between(reference, tolerance.play)
    settled = high - low <= _SETTLED * tolerance.play
    told = settled.mean(axis=0) > _SETTLED_ROWS
    between = np.nanmean(high - low, axis=0)
    middle = (low + high) / 2.0
    moved = np.nanmean(np.abs(np.diff(middle, axis=0)) > 0.0, axis=0)
    return (
        np.where(np.isfinite(reference), middle, np.nan),
        settled | ~told,
        moved,
        np.where(told, 0.0, between / 12**0.5),
    )


_SETTLED, _SETTLED_ROWS = 0.1, 0.25
"""Play passes for known once what is possible lies within such a part of it; in fewer rows than that it never was."""


def _regressor(reference: Array, count: Array, middle: Array, reference_noise: Array) -> tuple[Array, Array]:
    """(b, k) where the quantity most likely was in each block, from its middle; and (k,) the trust in its moves."""
    moved = np.where(count > 0.0, reference - middle, 0.0)
    blocks = np.maximum((count > 0.0).sum(axis=0), 1)
    own = np.where(count > 0.0, reference_noise**2 / np.maximum(count, 1.0), 0.0).sum(axis=0) / blocks
    seen = np.square(moved).sum(axis=0) / np.maximum(blocks - 1, 1)
    trusted = np.clip(1.0 - own / np.maximum(seen, 1e-300), 0.0, 1.0)
    return moved * trusted, trusted


def _turned(covariance: Array, found: Array, gain: Array, away: Array, reference_u: Array) -> Array:
    """(k, p, p) of offset, gain, conditions of the line turned round, by the law of propagation."""
    size = covariance.shape[1]
    slopes = -gain[:, None, None] * np.eye(size)  # of offset and conditions
    slopes[:, 0, 1] = -gain * away
    slopes[:, 1, 1] = -(gain**2)
    slopes[:, 2:, 1] = gain[:, None] ** 2 * found[:, 2:]
    turned: Array = slopes @ covariance @ slopes.transpose(0, 2, 1)
    turned = (turned + turned.transpose(0, 2, 1)) / 2.0
    turned[:, 0, 0] += reference_u**2
    return turned


def _prior(tolerance: Tolerance, middle: Array, away: Array, reference_u: float) -> Array:
    """(k, p, p) what is known before: of slope and conditions, and of their sum where the datasheet states the offset.

    `away` is (k, c), how far the nominal conditions are from those that were met.

    An offset seen far from the pivot is as likely an error of the slope: so the slope is learnt where nothing moves.
    """
    known = np.diag([0.0, *(_precision(a) for a in (tolerance.gain, *tolerance.conditions))])
    information = np.broadcast_to(known, (len(middle), *known.shape))
    if tolerance.offset > 0.0:
        at = np.concatenate([np.ones((len(middle), 1)), (tolerance.pivot - middle)[:, None], away], axis=1)
        variance = tolerance.offset**2 / 3.0 + reference_u**2
        information = information + at[:, :, None] * at[:, None, :] / variance
    return information


def _precision(half_width: float) -> float:
    """Of a rectangle; what cannot be is as good as certain to be zero."""
    return 3.0 / half_width**2 if half_width > 0.0 else 1e30


def _blocks(there: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Array]:
    """(n,) the block of each reading, and (blocks, k) how many of each sensor are in it."""
    n = len(there)
    blocks = np.arange(n) * max(min(_BLOCKS, n // 4), 2) // n
    count = np.zeros((blocks[-1] + 1, there.shape[1]))
    np.add.at(count, blocks, there.astype(np.float64))
    return blocks, count


def _means(cells: Array, blocks: NDArray[np.intp], count: Array) -> Array:
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    sums: Array = np.add.reduceat(cells, starts, axis=0)
    return sums / np.maximum(count, 1.0).reshape(*count.shape, *[1] * (cells.ndim - 2))


def _errors(left: Array, tolerance: Tolerance, reference_noise: Array) -> tuple[Array, Array]:
    """(k,) noise from reading to reading, from differences but the largest; and the rest of the scatter, which lasts.

    Medians would not do: where the resolution is coarse, most differences are zero.
    """
    squares = np.diff(left, axis=0) ** 2
    limit = np.nanquantile(squares, _KEPT, axis=0)
    fast = np.nanmean(np.where(squares <= limit, squares, np.nan), axis=0) / _KEPT_VARIANCE / 2.0 - reference_noise**2
    own = tolerance.noise**2 if tolerance.noise > 0.0 else np.inf
    noise = np.sqrt(np.clip(fast, _NOISE_MIN * tolerance.noise**2, _NOISE_MAX * own))
    slow = np.nanmean(left**2, axis=0) - noise**2 - reference_noise**2
    return noise, np.sqrt(np.maximum(slow, tolerance.slow**2))


_NOISE_MIN, _NOISE_MAX = 0.5, 1.2
"""The noise's variance, in that of the datasheet: what comes on top is 1/f noise, play or lag, and does not average."""
_KEPT, _KEPT_VARIANCE = 0.99, 0.9248
"""Of normal differences so many are kept, and so much of their variance is left."""

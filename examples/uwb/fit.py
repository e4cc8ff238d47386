"""What the model must be told, read off a first part of a drive whose truth is known; the rest is left for scoring.

Each of two halves of that part is judged with offsets, gain, clock and height fitted on the other: what is left there
is what the ranges really get wrong, and says how noisy they are, how large their slow errors and how long they last.
Of a few densities of wander the one is taken under which the truth of each half, seen by the filter that was fitted on
the other, is likeliest. Nothing is looked at beyond the part that was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from measurements import Drive, Track
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["WANDERS_M2_S3", "Estimated", "Ranging", "fit_model", "fit_ranging"]

WANDERS_M2_S3 = (0.03, 0.1, 0.3, 1.0)
START_M = (0.0, -4.0, 5.0)
"""The drive begins beside the anchors, within metres."""
SETTLED_S = 5.0
"""So long after its start a filter is not judged."""
MAD = 1.4826


class Ranging(NamedTuple):
    """What ranges have to do with distances.

    Attributes:
        offsets_m: (anchors,) of each anchor; it shows gain * distance + offset.
        gain: of all.
        clock_s: the ranges' stamps are so much later than the truth's.
        tag_height_m: of the tag.
    """

    offsets_m: Array
    gain: float
    clock_s: float
    tag_height_m: float


class Estimated(NamedTuple):
    """A track with its uncertainty: the stage's output, stamped by the truth's clock."""

    track: Track
    u_m: Array
    """(n, 2) standard uncertainty of x and y."""


def _predicted(drive: Drive, time_s: Array, ranging: Ranging) -> Array:
    """(n, anchors) what the anchors would show from where the truth was."""
    place = drive.truth.at(time_s - ranging.clock_s)
    flat = ((place[:, None, :] - drive.anchors_m[None, :, :2]) ** 2).sum(axis=2)
    return ranging.gain * np.sqrt(flat + (ranging.tag_height_m - drive.anchors_m[:, 2]) ** 2) + ranging.offsets_m


def _inside(drive: Drive, part: tuple[float, float]) -> NDArray[np.bool_]:
    """(n,) rounds of a part, where there is truth."""
    start, stop = max(part[0], drive.truth.time_s[0] + 1.0), min(part[1], drive.truth.time_s[-1] - 1.0)
    return (drive.time_s >= start) & (drive.time_s < stop)


def fit_ranging(drive: Drive, part: tuple[float, float]) -> Ranging:
    """Offsets, gain, clock and height under which ranges and truth agree best; outliers count little (soft L1)."""
    rows = _inside(drive, part)
    time_s, range_m, m = drive.time_s[rows], drive.range_m[rows], len(drive.anchors_m)
    seen = np.isfinite(range_m)

    def unpack(p: Array) -> Ranging:
        return Ranging(p[:m], 1.0 + p[m] / 100.0, p[m + 1], p[m + 2])

    def misfit(p: Array) -> Array:
        weak = [(p[-1] - 1.0) / 0.5 * 0.1]  # a tag on a cart; the ranges themselves hardly tell
        return np.concatenate([(range_m - _predicted(drive, time_s, unpack(p)))[seen], weak])

    found = least_squares(misfit, np.array([*np.zeros(m + 2), 1.0]), loss="soft_l1", f_scale=0.05)
    return unpack(found.x)


def _noise(leftovers: Sequence[Array]) -> dict[str, Any]:
    """White noise, and the common and own slow errors, of leftovers at rounds of 0.1 s; outliers are left out."""
    spread = MAD * np.nanmedian(np.abs(np.concatenate(leftovers)))
    held = [np.where(np.abs(part) < 8.0 * spread, part, np.nan) for part in leftovers]
    bends = np.concatenate([np.diff(part, 2, axis=0) for part in held])
    common = [np.nanmean(part, axis=1, keepdims=True) for part in held]
    own = [part - shared for part, shared in zip(held, common, strict=True)]
    return {
        "noise_m": float(MAD * np.nanmedian(np.abs(bends)) / np.sqrt(6.0)),
        "common": _slow(common),
        "own": _slow(own),
    }


def _slow(parts: Sequence[Array]) -> list[float]:
    """Standard deviation, and memory (s) from how much is left of it after a second."""
    power = np.nanmean(np.concatenate([part**2 for part in parts]))
    after = np.nanmean(np.concatenate([part[10:] * part[:-10] for part in parts]))
    return [float(np.sqrt(power)), float(-1.0 / np.log(np.clip(after / power, 0.05, 0.99)))]


def fit_model(
    drive: Drive, stop_s: float, follow: Callable[[dict[str, Any], float, float], Estimated]
) -> tuple[dict[str, Any], float, dict[float, float]]:
    """The model's parameters from the drive up to `stop_s`.

    Args:
        drive: the drive.
        stop_s: nothing later is looked at.
        follow: (parameters, clock_s, until_s) -> what the stage says up to then.

    Returns:
        The parameters, the clock's offset (s), and of each wander the mean log likelihood of the truth.
    """
    middle = 0.5 * (drive.truth.time_s[0] + stop_s)
    halves = ((-np.inf, middle), (middle, stop_s))
    fits = [fit_ranging(drive, half) for half in halves]
    crossed = list(zip(fits, reversed(halves), strict=True))  # each half with what was fitted on the other
    leftovers = []
    for fit, half in crossed:
        rows = _inside(drive, half)
        leftovers.append(drive.range_m[rows] - _predicted(drive, drive.time_s[rows], fit))
    noise = _noise(leftovers)
    scores = {}
    for wander in WANDERS_M2_S3:
        likelihoods = []
        for fit, half in crossed:
            seen = follow(_parameters(drive, fit, noise, wander), fit.clock_s, half[1])
            likelihoods.append(_likelihood(drive, seen, half))
        scores[wander] = float(np.mean(np.concatenate(likelihoods)))
    best = max(scores, key=lambda wander: scores[wander])
    whole = fit_ranging(drive, (-np.inf, stop_s))
    return _parameters(drive, whole, noise, best), whole.clock_s, scores


def _parameters(drive: Drive, fit: Ranging, noise: dict[str, Any], wander: float) -> dict[str, Any]:
    return {
        "anchors_m": drive.anchors_m.tolist(),
        "offsets_m": [round(float(offset), 4) for offset in fit.offsets_m],
        "gain": round(float(fit.gain), 6),
        "tag_height_m": round(float(fit.tag_height_m), 3),
        "noise_m": round(noise["noise_m"], 5),
        "common": [round(number, 4) for number in noise["common"]],
        "own": [round(number, 4) for number in noise["own"]],
        "wander_m2_s3": wander,
        "start_m": list(START_M),
    }


def _likelihood(drive: Drive, seen: Estimated, half: tuple[float, float]) -> Array:
    """(n,) log likelihood of the truth's x and y, row by row."""
    time_s = seen.track.time_s
    rows = (time_s >= max(half[0], drive.truth.time_s[0] + SETTLED_S)) & (time_s < half[1])
    z = (seen.track.xy_m[rows] - drive.truth.at(time_s[rows])) / seen.u_m[rows]
    result: Array = -(0.5 * z**2 + np.log(seen.u_m[rows])).sum(axis=1)
    return result

"""Where a quantity lies within the play (backlash, hysteresis) of its sensor, reading by reading.

A sensor with play of half-width h shows p, which moves only when the quantity x pushes it (the play operator: Visintin,
"Differential Models of Hysteresis", 1994, sect. III.2; Krasnosel'skii and Pokrovskii, 1989, ch. 1):

    p = min(max(p before, x - h), x + h)

While p rises, x = p + h; while it falls, x = p - h; so far this is inverted exactly (Kuhnen, "Modeling, identification
and compensation of complex hysteretic nonlinearities", Eur. J. Control 9(4), 2003). While p rests, d = x - p lies
somewhere from -h to h, and what is known of it fades with the motion of x. Readings have noise, so that whether p has
moved is itself a matter of chance. All of that is one Bayesian filter on a grid (a point-mass filter: Bucy and Senne,
Automatica 7(3), 1971) of NODES values of d, both ends of the play among them, which are where mass piles up; with each
node go mean and variance of p, given that d is there. With each reading

- d walks: by a Gaussian step, a node's mass goes to the nodes around. Steps shorter than the grid go to the next ones,
  so that mean and variance are right. What lies beyond an end stays at the end and has pushed p by the excess e >= 0,
  a truncated Gaussian: its likelihood and moments are known in closed form;
- the nodes are weighed by what the reading says of p, and those that arrive at one node become one Gaussian.

How far x goes from reading to reading is not known: models of SCALES are weighed by what they foretell (Magill, IEEE
Trans. Autom. Control 10(4), 1965), and change from reading to reading by a chance that draws from what was usual so
far: quantities are calm for hours and lively for minutes. Walks go from where x was; flutter (turbulence) is each time
somewhere around a place that may lie anywhere within the play. Which of the two it is, is a matter of the quantity, and
hardly changes.

Everything is in half-widths. Before anything is known d is rectangular (JCGM 100:2008, 4.3.7). A reading further off
than anything usual is not believed until another one is as far: a spike of the electronics pushes no play.
"""

from __future__ import annotations

from math import erf, erfc, isfinite, log, pi, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FLUTTERS", "HEAD", "MODELS", "NODES", "SCALES", "SIZE", "WALKS", "fresh", "transitions", "undo_play"]

NODES = 21
_STEP = 2.0 / (NODES - 1)
_D = np.linspace(-1.0, 1.0, NODES)
SCALES = 0.002 * 4.0 ** np.arange(8.0)
"""Standard deviations of a walk's step from one reading to the next, in half-widths."""
WALKS = len(SCALES)
FLUTTERS = (3, 4, 5)
"""Which of the scales flutter is tried with."""
PLACES = slice(2, NODES, 4)
"""Nodes around which a quantity that flutters may do so."""
MODELS = WALKS + len(FLUTTERS)
HEAD = 4
"""Stage (0: nothing was read yet), usual interval (s), seconds since the reading last believed, a reading doubted."""
SIZE = HEAD + 2 * MODELS + 3 * NODES
"""Of a channel's state: head; weights of the models now, and usually; then weight of each node, mean and variance."""
CHANGE, KEPT = 0.2, 0.998
"""Chance that the scale is drawn anew with a reading; what is kept of the usual weights."""
KIND_CHANGE, WALK_FIRST = 0.0005, 0.8
"""Chance that walk or flutter is drawn anew with a reading; and of walk when it is."""
_USUAL = np.array([0.99 / 7.0] * 7 + [0.01])
"""Weights of the walks at first: that a quantity leaps is to be learnt."""
LEAP, REACH = 0.003, 3.0
"""A reading is doubted where the models that reach it within so many standard deviations weigh no more than this."""
EVEN = 1.5
"""Intervals that differ by less count as the same."""
COARSE = 6
"""From this scale on all nodes push as one."""
TINY = 1e-6
"""Lighter nodes are left out of the reckoning, and those below `_GONE` of the whole are no more."""
_GONE, _LOST = 1e-12, 1e-200
_WIDE, _FAR = 6.0, 8.0
"""Standard deviations to which a step goes within the play, and beyond its end."""


def transitions() -> Array:
    """(MODELS, NODES, NODES) where a step of each model takes d, if it does not go beyond an end."""
    table = np.zeros((MODELS, NODES, NODES))
    edges = np.concatenate([[-1.0], (_D[1:] + _D[:-1]) / 2.0, [1.0]])
    for s, scale in enumerate(SCALES):
        if scale < _STEP:
            aside = (scale / _STEP) ** 2 / 2.0
            table[s] = (1.0 - 2.0 * aside) * np.eye(NODES) + aside * (np.eye(NODES, k=1) + np.eye(NODES, k=-1))
            inward = scale / _STEP / sqrt(2.0 * pi)  # the mean of the half that does not push
            for end, beside in ((0, 1), (NODES - 1, NODES - 2)):
                table[s, end], table[s, end, beside], table[s, end, end] = 0.0, inward, 0.5 - inward
        else:
            below = [[0.5 * (1.0 + erf((edge - d) / scale / sqrt(2.0))) for edge in edges] for d in _D]
            table[s] = np.diff(below, axis=1)
            if scale < 0.5:  # noqa: PLR2004 - beyond, it goes everywhere
                far = np.abs(np.subtract.outer(np.arange(NODES), np.arange(NODES))) > int(_WIDE * scale / _STEP) + 1
                table[s, far] = 0.0
    for s, like in enumerate(FLUTTERS, WALKS):
        table[s] = table[like, PLACES].mean(axis=0)
    return table


def fresh(channels: int) -> Array:
    """(channels, SIZE) state before the first reading."""
    state = np.zeros((channels, SIZE))
    flutters = np.full(len(FLUTTERS), (1.0 - WALK_FIRST) / len(FLUTTERS))
    weights = np.concatenate([WALK_FIRST * _USUAL, flutters])
    state[:, HEAD : HEAD + MODELS] = state[:, HEAD + MODELS : HEAD + 2 * MODELS] = weights
    nodes = np.full(NODES, 1.0 / (NODES - 1))
    nodes[[0, -1]] /= 2.0
    state[:, HEAD + 2 * MODELS : HEAD + 2 * MODELS + NODES] = nodes
    return state


def undo_play(
    state: Array,
    table: Array,
    dt_s: Array,
    value: Array,
    half: Array,
    noise: Array,
    wander: Array,
    offset: Array,
    var: Array,
) -> None:
    """Mean and variance of x - p after each reading.

    Args:
        state: (k, SIZE), goes on.
        table: of `transitions`.
        dt_s: (n,) s since the row before; not above zero: the row teaches nothing.
        value: (n, k) readings of p; NaN: none.
        half: (k,) half-width of the play, in the unit of `value`.
        noise: (n, k) variance of each reading's noise.
        wander: (k,) variance by which the sensor's own error walks from one reading to the next.
        offset: (n, k) filled: mean of x - p.
        var: (n, k) filled: its variance.
    """
    for k in range(value.shape[1]):
        h = float(half[k])
        for i in range(len(value)):
            mean, spread = _row(state[k], table, dt_s[i], value[i, k] / h, noise[i, k] / h**2, wander[k] / h**2)
            offset[i, k], var[i, k] = mean * h, spread * h * h


def _row(state: Array, table: Array, dt: float, z: float, r: float, wander: float) -> tuple[float, float]:
    nodes = state[HEAD + 2 * MODELS :].reshape(3, NODES)
    if dt > 0.0:
        state[2] += dt
    if not isfinite(z) or dt <= 0.0:
        return _told(nodes[0])
    if state[0] == 0.0:
        state[0], state[2] = 1.0, 0.0
        nodes[1], nodes[2] = z, r
        return _told(nodes[0])
    state[1] = state[1] or state[2]
    ratio = state[2] / state[1]
    even = 1.0 / EVEN < ratio < EVEN
    if not even:
        state[1] *= 1.1 if ratio > 1.0 else 1.0 / 1.1
    weights = _changed(state[HEAD : HEAD + MODELS], state[HEAD + MODELS : HEAD + 2 * MODELS])
    used = weights if even else _shifted(weights, ratio)
    after, likelihood = _moved(nodes, used, table, z, r, wander * ratio)
    far = abs(z - float(nodes[0] @ nodes[1])) - 2.0
    reached = sum(w for w, scale in zip(used, _ALL, strict=True) if REACH * scale >= far)
    if reached < LEAP and state[3] == 0.0:
        state[3] = 1.0
        return _told(after[0])
    state[2] = state[3] = 0.0
    nodes[:] = after
    total = float(used @ likelihood)
    if even and total > _LOST:
        state[HEAD : HEAD + MODELS] = used * likelihood / total
        usual = state[HEAD + MODELS : HEAD + 2 * MODELS]
        usual += (1.0 - KEPT) * (state[HEAD : HEAD + MODELS] - usual)
    return _told(nodes[0])


_ALL = np.concatenate([SCALES, SCALES[list(FLUTTERS)]])


def _told(weight: Array) -> tuple[float, float]:
    """Mean and variance of d; a node within stands for the stretch around it."""
    mean = float(weight @ _D)
    within = 1.0 - weight[0] - weight[-1]
    return mean, max(float(weight @ (_D * _D)) - mean * mean, 0.0) + float(within) * _STEP**2 / 12.0


def _changed(now: Array, usual: Array) -> Array:
    """Weights of the models at the next reading."""
    result = np.empty(MODELS)
    for kind, first in ((slice(0, WALKS), WALK_FIRST), (slice(WALKS, MODELS), 1.0 - WALK_FIRST)):
        own = now[kind].sum()
        mixed = (1.0 - CHANGE) * now[kind] / own + CHANGE * usual[kind] / usual[kind].sum()
        result[kind] = ((1.0 - KIND_CHANGE) * own + KIND_CHANGE * first) * mixed
    return result


def _shifted(weights: Array, ratio: float) -> Array:
    """In an interval `ratio` times the usual one a walk goes sqrt(ratio) times as far."""
    up = min(max(log(ratio) / log(16.0), -float(WALKS)), float(WALKS))
    whole = int(np.floor(up))
    result = weights.copy()
    result[:WALKS] = 0.0
    for s in range(WALKS):
        for target, part in ((s + whole, 1.0 - up + whole), (s + whole + 1, up - whole)):
            result[min(max(target, 0), WALKS - 1)] += part * weights[s]
    return result


def _moved(nodes: Array, used: Array, table: Array, z: float, r: float, wander: float) -> tuple[Array, Array]:
    """The nodes after the reading, and the likelihood of it under each model."""
    m, v = nodes[1] - z, nodes[2] + wander  # relative to the reading: no digits are lost in squares
    whole = _whole(nodes[0], m, v)
    w = np.where(nodes[0] > TINY, nodes[0], 0.0)
    flutter = table[WALKS:, 0]
    rows = np.tensordot(used[:WALKS], table[:WALKS], 1)
    middle = used[WALKS:] @ flutter
    # Weight, weighted mean and weighted square of what rests, by where d goes.
    gathered = np.stack([w, w * m, w * (v + m * m)]) @ rows
    gathered += np.outer([1.0, whole.mean, whole.var + whole.mean**2], middle)
    rest = np.maximum(gathered[0], 1e-300)
    mean = gathered[1] / rest
    spread = np.maximum(gathered[2] / rest - mean * mean, 0.0)
    density = np.exp(-0.5 * mean * mean / (spread + r)) / np.sqrt(2.0 * pi * (spread + r))
    likelihood = np.concatenate([(table[:WALKS] @ density) @ w, flutter @ density])
    left = r / (spread + r)
    gathered[0] *= density
    gathered[1] = gathered[0] * mean * left
    gathered[2] = gathered[0] * ((mean * left) ** 2 + spread * left)
    for sign, end in ((-1.0, 0), (1.0, NODES - 1)):
        model, mass, at, wide, away = _sources(w, m, v, whole, sign, end)
        chance, mean, spread = _push(sign, at, wide, r, _ALL[model], away)
        np.add.at(likelihood, model, mass * chance)
        share = used[model] * mass * chance
        gathered[:, end] += [share.sum(), share @ mean, share @ (mean * mean + spread)]
    return _gathered(gathered, z, r, whole.mean), likelihood


class _Whole(NamedTuple):
    """All nodes as one: mean and variance of p, mean of d."""

    mean: float
    var: float
    d: float


def _whole(w: Array, m: Array, v: Array) -> _Whole:
    mean = float(w @ m)
    return _Whole(mean, float(w @ (v + m * m)) - mean * mean, float(w @ _D))


def _sources(
    w: Array, m: Array, v: Array, whole: _Whole, sign: float, end: int
) -> tuple[NDArray[np.intp], Array, Array, Array, Array]:
    """What may push at this end: model, mass, mean and variance of p, and how far d is from the end."""
    found: list[tuple[int, float, float, float, float]] = []
    for s, scale in enumerate(_ALL):
        if s >= WALKS:
            places = 1.0 - sign * _D[PLACES]
            found += [(s, 1.0 / len(places), whole.mean, whole.var, a) for a in places if a <= _FAR * scale]
        elif s >= COARSE:  # it makes no difference where d was
            found.append((s, 1.0, whole.mean, whole.var, 1.0 - sign * whole.d))
        elif scale < _STEP:
            found.append((s, w[end], m[end], v[end], 0.0))
        else:
            far = 1.0 - sign * _D
            found += [(s, w[i], m[i], v[i], far[i]) for i in range(NODES) if w[i] > 0.0 and far[i] <= _FAR * scale]
    model, mass, mean, var, away = np.array(found).T
    return model.astype(np.intp), mass, mean, var, away


def _push(sign: float, m: Array, v: Array, r: float, scale: Array, away: Array) -> tuple[Array, Array, Array]:
    """Likelihood, mean and variance of p where x goes beyond the end, by e >= 0, and takes p along.

    The step is Gaussian: e has density N(e + away; 0, scale^2), and the reading says e = -sign m to v + r. The product
    is a Gaussian of e, cut off at zero; p then follows by Kalman's formula for each e. All relative to the reading.
    """
    spread = v + r
    total = scale * scale + spread
    off = away - sign * m
    middle, wide = -sign * m - off * spread / total, scale * np.sqrt(spread / total)
    cut = np.maximum(middle / wide, -_FAR)
    positive = np.array([0.5 * erfc(-each / sqrt(2.0)) for each in cut.tolist()])
    chance = np.exp(-0.5 * off * off / total) / np.sqrt(2.0 * pi * total) * positive
    mills = np.exp(-0.5 * cut * cut) / sqrt(2.0 * pi) / positive
    excess_var = np.maximum(wide * wide * (1.0 - mills * (mills + cut)), 0.0)
    left = r / spread
    chance[middle / wide < -_FAR] = 0.0
    return chance, left * (m + sign * (middle + wide * mills)), left * v + left * left * excess_var


def _gathered(gathered: Array, z: float, r: float, centre: float) -> Array:
    """Weight, mean and variance of each node."""
    after = np.array([np.zeros(NODES), np.full(NODES, z), np.full(NODES, r)])
    total = gathered[0].sum()
    if not total > _LOST:  # further than any model goes: it lies at that end
        after[0, NODES - 1 if centre < 0.0 else 0] = 1.0
        return after
    there = gathered[0] > _GONE * total
    weight, mean, square = gathered[:, there]
    mean, square = mean / weight, square / weight
    after[:, there] = weight / total, mean + z, np.maximum(square - mean * mean, 0.0)
    return after

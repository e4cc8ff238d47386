"""Textbook filters of a local level that learn, or do not: the peers of the bank, for many runs side by side.

Each takes z (s, n), one run a row, times one second apart, and answers (mean, variance) of the same shape. Settings are
those of the sources, or better ones where we found them; the settings stand in each signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Answer = tuple["Array", "Array"]


class Fit(NamedTuple):
    """What was found on the first rows: variances (s,)."""

    r: Array
    q: Array


def maximum_likelihood(z: Array) -> Fit:
    """R and Q by maximum likelihood: a grid over Q/R, R concentrated out (Harvey 1989, section 3.4.1)."""
    ratios = 10.0 ** np.linspace(-5, 2, 71)
    p = np.ones((len(z), len(ratios)))
    m = np.repeat(z[:, :1], len(ratios), axis=1)
    squares, logs = np.zeros_like(p), np.zeros_like(p)
    for t in range(1, z.shape[1]):
        p = p + ratios
        e, s = z[:, t : t + 1] - m, p + 1.0
        squares += e * e / s
        logs += np.log(s)
        m = m + p / s * e
        p = p / s
    count = z.shape[1] - 1
    best = np.argmin(count * np.log(squares) + logs, axis=1)
    r = squares[np.arange(len(z)), best] / count
    return Fit(r, r * ratios[best])


def _run(z: Array, fit: Fit, step: Callable[[int, Array, Array, Array], tuple[Array, Array, Array]]) -> Answer:
    """A filter that predicts by Q (fit, or what `step` answered) and updates by `step(t, m, p, z) -> m, p, q`."""
    m, p, q = z[:, 0], fit.r, fit.q
    mean, var = np.empty_like(z), np.empty_like(z)
    mean[:, 0], var[:, 0] = m, p
    for t in range(1, z.shape[1]):
        m, p, q = step(t, m, p + q, z[:, t])
        mean[:, t], var[:, t] = m, p
    return mean, var


def fixed(z: Array, fit: Fit) -> Answer:
    """Kalman 1960."""

    def step(_: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        gain = p / (p + fit.r)
        return m + gain * (z - m), p * (1 - gain), fit.q

    return _run(z, fit, step)


def huber(z: Array, fit: Fit, bend: float = 1.345) -> Answer:
    """The innovation's influence is bounded (Huber 1964; bend for 95 % efficiency)."""

    def step(_: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        e, s = z - m, np.sqrt(p + fit.r)
        softer = fit.r / np.minimum(1.0, bend * s / np.maximum(np.abs(e), 1e-300))
        gain = p / (p + softer)
        return m + gain * e, p * (1 - gain), fit.q

    return _run(z, fit, step)


def student(z: Array, fit: Fit, dof: float = 4.0) -> Answer:
    """Student-t noise, by its scale mixture (Lange, Little and Taylor 1989)."""

    def step(_: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        e = z - m
        softer = fit.r * np.maximum(1.0, (dof + e * e / (p + fit.r)) / (dof + 1.0))
        gain = p / (p + softer)
        return m + gain * e, p * (1 - gain), fit.q

    return _run(z, fit, step)


def sage_husa(z: Array, fit: Fit, fade: float = 0.98, *, learn_q: bool) -> Answer:
    """Fading estimates of R, and of Q where asked (Sage and Husa 1969), kept above a hundredth of the fit."""
    r, q = fit.r, fit.q

    def step(t: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        nonlocal r, q
        share = (1 - fade) / (1 - fade ** (t + 1))
        e = z - m
        r = np.maximum((1 - share) * r + share * (e * e - p), fit.r / 100)
        gain = p / (p + r)
        after = p * (1 - gain)
        if learn_q:
            q = np.maximum((1 - share) * q + share * ((gain * e) ** 2 + after - (p - q)), fit.q / 100)
        return m + gain * e, after, q

    return _run(z, fit, step)


def windowed_innovation(z: Array, fit: Fit, window: int = 60) -> Answer:
    """R and Q from the innovations of a window (Mehra 1972; Mohamed and Schwarz 1999)."""
    squares = np.zeros((window, len(z)))

    def step(t: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        e = z - m
        squares[t % window] = e * e
        if t < window:
            gain = p / (p + fit.r)
            return m + gain * e, p * (1 - gain), fit.q
        c = squares.mean(axis=0)
        r = np.maximum(c - p, fit.r / 100)
        gain = p / (p + r)
        return m + gain * e, p * (1 - gain), np.maximum(gain * gain * c, fit.q / 100)

    return _run(z, fit, step)


def variational(z: Array, fit: Fit, fade: float = 0.98, rounds: int = 3) -> Answer:
    """Variational Bayes for R, Q as fitted (Sarkka and Nummenmaa 2009)."""
    alpha = np.full(len(z), 10.0)
    beta = alpha * fit.r

    def step(_: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        nonlocal alpha, beta
        alpha, faded = fade * alpha + 0.5, fade * beta
        beta = faded
        after_m, after_p = m, p
        for _ in range(rounds):
            r = beta / alpha if beta is not faded else faded / (alpha - 0.5)
            gain = p / (p + r)
            after_m, after_p = m + gain * (z - m), p * (1 - gain)
            beta = faded + 0.5 * (z - after_m) ** 2 + 0.5 * after_p
        return after_m, after_p, fit.q

    return _run(z, fit, step)


def informed(z: Array, r: Array, q: Array) -> Answer:
    """Kalman's filter told R and Q of every row (s, n): no filter can do better, and its variance is the bound."""

    def step(t: int, m: Array, p: Array, z: Array) -> tuple[Array, Array, Array]:
        s = p + r[:, t]
        return m + p / s * (z - m), p * r[:, t] / s, q[:, min(t + 1, q.shape[1] - 1)]

    return _run(z, Fit(r[:, 0], q[:, 1]), step)

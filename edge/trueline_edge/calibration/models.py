"""Calibration functions as a person writes them: offset, affine, polynomial, table, several inputs.

Promises: a model that exists is valid; all but the table say the same thing in one form, `Linear`: a sum of
coefficients times terms, with the covariance of the coefficients. Refuses to know noise, dates and ranges (`file.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.calibration.terms import Factor, Term, parse_term

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Affine",
    "Linear",
    "Model",
    "MultiInput",
    "Offset",
    "Polynomial",
    "Table",
    "rounded",
    "rounded_covariance",
    "widened",
]

_DEGREES = range(1, 7)
_TERMS_MAX = 200
Rows = tuple[tuple[float, ...], ...]


class Linear(NamedTuple):
    """value = sum of coefficient times term."""

    terms: tuple[Term, ...]
    """m of them."""
    coefficients: NDArray[np.float64]
    """(m,) in the unit of the corrected value: factors with a scale are pure numbers."""
    covariance: NDArray[np.float64]
    """(m, m) of the coefficients."""
    scaling: dict[Factor, tuple[float, float]]
    """Centre and scale of each factor; (0, 1) where it has none."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the channels it reads, sorted."""
        return tuple(sorted({factor.name for term in self.terms for factor in term}))


class _Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What the models have in common: nothing but the tag."""


class Offset(_Model, frozen=True, kw_only=True, tag="offset"):
    """value = raw + offset.

    Attributes:
        offset: in the channel's unit.
        u_offset: its standard uncertainty.
    """

    offset: float
    u_offset: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers("offset", (self.offset,))
        _check_u("u_offset", (self.u_offset,))

    def linear(self, channel: str) -> Linear:
        """As a sum of terms of the raw channel."""
        own = Factor("", channel)
        covariance = np.array([[self.u_offset**2, 0.0], [0.0, 0.0]])
        return Linear(((), (own,)), np.array([self.offset, 1.0]), covariance, {own: (0.0, 1.0)})


class Affine(_Model, frozen=True, kw_only=True, tag="affine"):
    """value = offset + gain * (raw - centre).

    Attributes:
        offset: the corrected value at `centre`.
        gain: corrected units per raw unit; not 0.
        centre: in the raw unit; near the middle of the calibration, offset and gain are hardly correlated.
        covariance: of (offset, gain), two rows of two numbers; zeros where left out.
    """

    offset: float
    gain: float
    centre: float = 0.0
    covariance: Rows = ()

    def __post_init__(self) -> None:
        _check_numbers("offset", (self.offset,))
        _check_numbers("centre", (self.centre,))
        if not math.isfinite(self.gain) or self.gain == 0.0:
            raise ValueError(f"gain {self.gain} must be a number that is not 0")
        _check_covariance(self.covariance, 2)

    def linear(self, channel: str) -> Linear:
        """As a sum of terms of the raw channel."""
        own = Factor("", channel)
        covariance = _matrix(self.covariance, 2)
        return Linear(((), (own,)), np.array([self.offset, self.gain]), covariance, {own: (self.centre, 1.0)})


class Polynomial(_Model, frozen=True, kw_only=True, tag="polynomial"):
    """value = c0 + c1 z + c2 z^2 ..., z = (raw - centre) / scale.

    Attributes:
        coefficients: c0, c1, ...; up to the sixth power.
        centre: in the raw unit.
        scale: in the raw unit; above 0.
        covariance: of the coefficients, a row for each; zeros where left out.
    """

    coefficients: tuple[float, ...]
    centre: float = 0.0
    scale: float = 1.0
    covariance: Rows = ()

    def __post_init__(self) -> None:
        _check_numbers("coefficients", self.coefficients)
        _check_numbers("centre", (self.centre,))
        if len(self.coefficients) - 1 not in _DEGREES:
            raise ValueError(
                f"coefficients has {len(self.coefficients)} numbers: {_DEGREES.start + 1} to {_DEGREES.stop} are wanted"
            )
        if not 0.0 < self.scale < math.inf:
            raise ValueError(f"scale {self.scale} must be above 0")
        _check_covariance(self.covariance, len(self.coefficients))

    def linear(self, channel: str) -> Linear:
        """As a sum of terms of the raw channel."""
        own = Factor("", channel)
        terms = tuple((own,) * power for power in range(len(self.coefficients)))
        covariance = _matrix(self.covariance, len(terms))
        return Linear(terms, np.array(self.coefficients), covariance, {own: (self.centre, self.scale)})


class MultiInput(_Model, frozen=True, kw_only=True, tag="multi_input"):
    """value = sum of coefficient times term; a term is a product of factors of this and other channels of the stream.

    Attributes:
        terms: such as "1", "o3", "temperature", "o3*temperature", "log(s1)", "humidity^2".
        coefficients: one for each term.
        factors: centre and scale of a factor, by the factor as it stands in the terms; the factor is taken as
            (f(x) - centre) / scale, and as f(x) where it is not listed. Inputs are raw readings.
        covariance: of the coefficients, a row for each; zeros where left out.
    """

    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    factors: dict[str, tuple[float, float]] = {}
    covariance: Rows = ()

    def __post_init__(self) -> None:
        parsed = [parse_term(term) for term in self.terms]
        if not 1 <= len(parsed) <= _TERMS_MAX:
            raise ValueError(f"terms has {len(parsed)}: 1 to {_TERMS_MAX} are wanted")
        if len(set(parsed)) != len(parsed):
            raise ValueError("terms says one term twice")
        if len(self.coefficients) != len(parsed):
            raise ValueError(f"coefficients has {len(self.coefficients)} numbers for {len(parsed)} terms")
        _check_numbers("coefficients", self.coefficients)
        known = {factor.text for term in parsed for factor in term}
        for text, (centre, scale) in self.factors.items():
            if text not in known:
                raise ValueError(f"factors has {text!r}, which stands in no term")
            if not math.isfinite(centre) or not 0.0 < scale < math.inf:
                raise ValueError(f"factors: {text!r} wants a centre and a scale above 0, not {centre}, {scale}")
        _check_covariance(self.covariance, len(parsed))

    def linear(self, channel: str) -> Linear:  # noqa: ARG002 - the terms name it
        """As it is."""
        terms = tuple(parse_term(term) for term in self.terms)
        scaling = {factor: self.factors.get(factor.text, (0.0, 1.0)) for term in terms for factor in term}
        return Linear(terms, np.array(self.coefficients), _matrix(self.covariance, len(terms)), scaling)


class Table(_Model, frozen=True, kw_only=True, tag="table"):
    """Knots joined by straight lines, or by a cubic that never overshoots; beyond the ends the last slope goes on.

    The cubic is Fritsch and Carlson's (SIAM J. Numer. Anal. 17, 1980): monotone wherever the knots are. Its uncertainty
    is propagated as that of the straight lines.

    Attributes:
        raw: of the knots, rising.
        value: of the knots, rising or falling throughout.
        u: standard uncertainty of each knot's value; zeros where left out.
        covariance: of the knots' values, in place of `u`.
        smooth: true for the cubic.
    """

    raw: tuple[float, ...]
    value: tuple[float, ...]
    u: tuple[float, ...] = ()
    covariance: Rows = ()
    smooth: bool = False

    def __post_init__(self) -> None:
        _check_numbers("raw", self.raw)
        _check_numbers("value", self.value)
        knots = len(self.raw)
        if knots < 2:  # noqa: PLR2004 - a line has two ends
            raise ValueError(f"raw has {knots} knots: 2 or more are wanted")
        if len(self.value) != knots:
            raise ValueError(f"value has {len(self.value)} numbers for {knots} knots")
        steps = np.diff(self.value)
        if not (np.diff(self.raw) > 0).all():
            raise ValueError("raw must rise from knot to knot")
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError("value must rise, or fall, from knot to knot")
        if self.u:
            _check_u("u", self.u)
            if len(self.u) != knots:
                raise ValueError(f"u has {len(self.u)} numbers for {knots} knots")
        _check_covariance(self.covariance, knots)

    @property
    def knots_covariance(self) -> NDArray[np.float64]:
        """(m, m) of the knots' values."""
        if self.u and not self.covariance:
            return np.diag(np.square(self.u))
        return _matrix(self.covariance, len(self.raw))


Model = Offset | Affine | Polynomial | MultiInput | Table
"""What may stand under `[model]`."""


def rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """In digits that a person can read."""
    return tuple(float(f"{number:.9g}") for number in numbers)


def rounded_covariance(matrix: NDArray[np.float64]) -> Rows:
    """As it stands in a file."""
    return tuple(rounded(row) for row in (matrix + matrix.T) / 2)


def widened(model: Model, factor: float) -> Model:
    """The same function, its parameters' standard uncertainties multiplied."""
    if isinstance(model, Offset):
        return msgspec.structs.replace(model, u_offset=rounded(np.array([model.u_offset * factor]))[0])
    return msgspec.structs.replace(model, covariance=rounded_covariance(np.array(model.covariance) * factor**2))


def _matrix(rows: Rows, size: int) -> NDArray[np.float64]:
    return np.array(rows) if rows else np.zeros((size, size))


def _check_numbers(key: str, numbers: tuple[float, ...]) -> None:
    for number in numbers:
        if not math.isfinite(number):
            raise ValueError(f"{key} {number} must be a finite number")


def _check_u(key: str, numbers: tuple[float, ...]) -> None:
    for number in numbers:
        if not 0.0 <= number < math.inf:
            raise ValueError(f"{key} {number} must be a number that is not negative")


def _check_covariance(rows: Rows, size: int) -> None:
    if not rows:
        return
    if len(rows) != size or any(len(row) != size for row in rows):
        raise ValueError(f"covariance must have {size} rows of {size} numbers")
    matrix = np.array(rows)
    if not np.isfinite(matrix).all():
        raise ValueError("covariance must be finite")
    deviation = np.sqrt(np.abs(np.diagonal(matrix)))
    if (np.abs(matrix - matrix.T) > 1e-6 * np.outer(deviation, deviation)).any():
        raise ValueError("covariance must be symmetric")
    if np.linalg.eigvalsh(matrix).min(initial=0.0) < -1e-6 * np.trace(matrix):
        raise ValueError("covariance must not have a negative eigenvalue: no spread has it")

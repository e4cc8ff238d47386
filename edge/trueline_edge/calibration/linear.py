"""Calibration functions that are sums of coefficients times terms, many channels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trueline_edge.calibration.compiled import FLOOR, root_of
from trueline_edge.calibration.task import TINY, Curve, Task, ranges_of, tile32, tile64
from trueline_edge.calibration.terms import FUNCTIONS, Factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["LinearCurves"]

_OWN: Final = -1
"""Stands for the column that is corrected."""


class LinearCurves:
    """Sums of coefficients times terms, for kg channels that have the same terms."""

    def __init__(self, members: list[Task]) -> None:
        linears = [task.linear for task in members]
        first, own = linears[0], members[0].calibration.channel
        factors = sorted({factor for term in first.terms for factor in term})
        place = {factor: position for position, factor in enumerate(factors)}
        self._terms = [tuple(place[factor] for factor in term) for term in first.terms]
        coefficients = np.array([linear.coefficients for linear in linears]).T
        self._coefficients = [tile64(row) for row in coefficients]
        roots = np.array([root_of(linear.covariance) for linear in linears]).transpose(2, 1, 0)  # r, j, channel
        used = [[j for j in range(len(self._terms)) if root[j].any()] for root in roots]
        self._roots = [[(j, tile32(root[j])) for j in js] for root, js in zip(roots, used, strict=True) if js]
        self._inputs = [_Input(members, name) for name in first.inputs if name != own]
        columns = [_OWN if factor.name == own else members[0].inputs[factor.name] for factor in factors]
        self._factors = [
            _Scaled(members, factor, column, [_renamed(task, factor, members[0]) for task in members])
            for factor, column in zip(factors, columns, strict=True)
        ]
        flat = all(len(term) <= 1 for term in self._terms) and not any(factor.function for factor in factors)
        self._constant = {c: tile32(self._slope_constant(c, coefficients)) for c in {_OWN, *columns}} if flat else {}
        self._slopes = {column: self._slope_parts(column, coefficients) for column in {_OWN, *columns}}

    def constant_slope(self) -> F32 | None:
        """(rows, kg) derivative by the own raw value where it is the same everywhere; else None."""
        return self._constant.get(_OWN)

    def __call__(self, own: F64, value: F64, u: F32, usable: Mask) -> Curve:
        """Evaluate a batch: (n, kg) own raw values, and all (n, k) of the stream for the other inputs."""
        raw: dict[int, F64] = {_OWN: own}
        guessed: list[tuple[int, F32]] = []
        known: list[tuple[int, F32]] = []
        outside: F32 | None = None
        for entry in self._inputs:
            seen = entry(value, u, usable)
            raw[entry.column] = seen.value
            known += [(entry.column, seen.variance)] if seen.variance is not None else []
            guessed += [(entry.column, seen.guessed)] if seen.guessed is not None else []
            if seen.outside is not None:
                outside = seen.outside if outside is None else outside + seen.outside
        features = [factor(raw[factor.column]) for factor in self._factors]
        corrected = self._sum([_product(term, features) for term in self._terms], own.shape)
        narrow = [feature.astype(np.float32) for feature in features]
        variance = self._variance([_product(term, narrow) for term in self._terms], own.shape)
        slope = self._slope(_OWN, raw, narrow)
        for column, spread in guessed:
            variance += np.square(self._slope(column, raw, narrow)) * spread
        inputs: F32 | None = None
        for column, spread in known:
            part = np.square(self._slope(column, raw, narrow)) * spread
            inputs = part if inputs is None else inputs + part
        return Curve(corrected, slope, variance, inputs, outside)

    def _sum(self, products: list[F64 | None], shape: tuple[int, ...]) -> F64:
        total: F64 | None = None
        n = shape[0]
        constant: F64 | None = None
        for product, coefficient in zip(products, self._coefficients, strict=True):
            if product is None:
                constant = coefficient[:n]
            elif total is None:
                total = product * coefficient[:n]
            else:
                total += product * coefficient[:n]
        if total is None:
            total = np.zeros(shape)
        if constant is not None:
            total += constant
        return total

    def _variance(self, products: list[F32 | None], shape: tuple[int, ...]) -> F32:
        """(n, kg) f' C f with C = A A', A lower triangular: a sum of squares, so never below zero."""
        total: F32 | None = None
        n = shape[0]
        for used in self._roots:
            combined: F32 | None = None
            constant: F32 | None = None
            for j, root in used:
                product = products[j]
                if product is None:
                    constant = root[:n]
                elif combined is None:
                    combined = product * root[:n]
                else:
                    combined += product * root[:n]
            if combined is None:
                combined = np.square(constant)  # type: ignore[arg-type] # `used` is not empty
            else:
                if constant is not None:
                    combined += constant
                combined *= combined
            if total is None:
                total = combined
            else:
                total += combined
        return np.zeros(shape, np.float32) if total is None else total

    def _slope(self, column: int, raw: dict[int, F64], features: list[F32]) -> F32:
        """(n, kg) derivative of the functions by an input."""
        n = len(raw[_OWN])
        if column in self._constant:
            return self._constant[column][:n]
        total: F32 | None = None
        for position, rest, coefficient in self._slopes[column]:
            part = coefficient[:n]
            factor = self._factors[position]
            if not factor.plain:
                part = part * factor.slope(raw[column]).astype(np.float32)
            product = _product(rest, features)
            if product is not None:
                part = part * product
            total = part if total is None else total + part
        return np.zeros(raw[_OWN].shape, np.float32) if total is None else total

    def _slope_parts(self, column: int, coefficients: F64) -> list[tuple[int, tuple[int, ...], F32]]:
        """The derivative by an input as a sum: the factor that is derived, the others, the coefficient."""
        parts = []
        for term, coefficient in zip(self._terms, coefficients, strict=True):
            for position in sorted({p for p in term if self._factors[p].column == column}):
                rest = list(term)
                rest.remove(position)
                scaled = coefficient * term.count(position) / self._factors[position].scale[0]
                parts.append((position, tuple(rest), tile32(scaled)))
        return parts

    def _slope_constant(self, column: int, coefficients: F64) -> F64:
        total = np.zeros(coefficients.shape[1])
        for term, coefficient in zip(self._terms, coefficients, strict=True):
            if term and self._factors[term[0]].column == column:
                total += coefficient / self._factors[term[0]].scale[0]
        return total


class _Scaled:
    """A factor in each of the channels: (f(x) - centre) / scale."""

    def __init__(self, members: list[Task], factor: Factor, column: int, names: list[Factor]) -> None:
        scaling = np.array([task.linear.scaling[name] for task, name in zip(members, names, strict=True)])
        low, _ = ranges_of([task.calibration for task in members], [name.name for name in names])
        self.column = column
        self._function = FUNCTIONS[factor.function]
        self.plain = not factor.function
        self._centre, self.scale = tile64(scaling[:, 0]), tile64(scaling[:, 1])
        self._centred, self._scaled = bool(scaling[:, 0].any()), bool((scaling[:, 1] != 1).any())
        self._floor = tile64(np.where(np.isfinite(low) & (low > 0), low / 10, FLOOR))

    def __call__(self, x: F64) -> F64:
        """(n, kg) of raw values (n, kg)."""
        n = len(x)
        if self._function.positive:
            x = np.maximum(x, self._floor[:n])
        if not self.plain:
            x = self._function.value(x)
        if self._centred:
            x = x - self._centre[:n]
        return x / self.scale[:n] if self._scaled else x

    def slope(self, x: F64) -> F64:
        """(n, kg) derivative of the function alone, before it is scaled."""
        if not self._function.positive:
            return self._function.slope(x)
        floor = self._floor[: len(x)]
        return np.where(x > floor, self._function.slope(np.maximum(x, floor)), 0.0)


class _Seen(NamedTuple):
    """Another channel as an input of a group, (n, kg) each."""

    value: F64
    """The middle of the range where it is not usable."""
    variance: F32 | None
    """From its `u`, 0 where unknown; None where it is unknown throughout."""
    guessed: F32 | None
    """Variance of a guessed value; None where nothing was guessed."""
    outside: F32 | None
    """Distance from the range in half widths; None where all are inside."""


class _Input:
    """A channel that a group reads beside its own."""

    def __init__(self, members: list[Task], name: str) -> None:
        self.column = members[0].inputs[name]
        names = [next(n for n, c in task.inputs.items() if c == self.column) for task in members]
        low, high = ranges_of([task.calibration for task in members], names)
        self._width = len(members)
        self._lowest, self._highest = low.max(), high.min()
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def __call__(self, value: F64, u: F32, usable: Mask) -> _Seen:
        x, spread, good = value[:, self.column].copy(), u[:, self.column].copy(), usable[:, self.column]
        known = spread == spread  # noqa: PLR0124 - false for NaN alone
        variance = self._wide(np.where(known, spread * spread, np.float32(0))) if known.any() else None
        out = bool(((x < self._lowest) | (x > self._highest)).any())
        if not out and good.all():
            return _Seen(self._wide(x), variance, None, None)
        fine = good[:, None]
        distance = np.where(fine, np.maximum(np.abs((x[:, None] - self._middle) / self._half) - 1, 0.0), TINY)
        outside = distance.astype(np.float32) if distance.any() else None
        guessed = np.where(fine, 0.0, np.square(self._half) / 3).astype(np.float32)
        if variance is not None:
            variance = np.where(fine, variance, np.float32(0))
        seen = np.where(fine, x[:, None], self._middle)
        return _Seen(seen, variance, guessed, outside)

    def _wide(self, column: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(column, self._width).reshape(len(column), self._width)


def _product(term: tuple[int, ...], features: list[NDArray[Any]]) -> NDArray[Any] | None:
    """(n, kg) of the factors; None for the empty term, which is 1."""
    if not term:
        return None
    product = features[term[0]]
    for position in term[1:]:
        product = product * features[position]
    return product


def _renamed(task: Task, factor: Factor, pattern: Task) -> Factor:
    """The factor of `task` at the place of a factor of `pattern`."""
    if factor.name == pattern.calibration.channel:
        return Factor(factor.function, task.calibration.channel)
    column = pattern.inputs[factor.name]
    return Factor(factor.function, next(name for name, c in task.inputs.items() if c == column))

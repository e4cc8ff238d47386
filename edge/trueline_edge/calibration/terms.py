"""Terms of a calibration function: "o3", "log(s1)", "s1*temperature", "t^2" -> features and their derivatives.

A term is a product of factors; a factor is a function of one input, moved by its centre and divided by its scale:
(f(x) - centre) / scale. The function is linear in its coefficients, so their covariance propagates exactly (GUM 5.2.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FUNCTIONS", "Factor", "Term", "parse_term", "spell_term"]

_FACTOR: Final = re.compile(r"(?:(log|sqrt|inverse)\(([^()*^]+)\)|([^()*^]+))(?:\^([2-9]))?")


class _Function(NamedTuple):
    """f and its derivative, and whether it is defined for positive numbers alone."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    positive: bool


FUNCTIONS: Final[dict[str, _Function]] = {
    "": _Function(lambda x: x, np.ones_like, positive=False),
    "log": _Function(np.log, lambda x: 1.0 / x, positive=True),
    "sqrt": _Function(np.sqrt, lambda x: 0.5 / np.sqrt(x), positive=True),
    "inverse": _Function(lambda x: 1.0 / x, lambda x: -1.0 / (x * x), positive=True),
}
"""Functions a factor may use; "" is the input as it is."""


class Factor(NamedTuple):
    """A function of an input."""

    function: str
    name: str

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.function}({self.name})" if self.function else self.name


Term = tuple[Factor, ...]
"""A product; the empty one is the constant 1. Sorted, so that equal terms are equal."""


def parse_term(text: str) -> Term:
    """Read a term.

    Raises:
        ValueError: it is not one.
    """
    if text.strip() == "1":
        return ()
    factors: list[Factor] = []
    for part in text.split("*"):
        found = _FACTOR.fullmatch(part.strip())
        if not found:
            raise ValueError(
                f"terms has {text!r}: write 1, a channel, log(channel), sqrt(channel), inverse(channel), "
                "a power such as channel^2, or a product of these with *"
            )
        function, inner, plain, power = found.groups()
        factors += [Factor(function or "", (inner or plain).strip())] * int(power or 1)
    return tuple(sorted(factors))


def spell_term(term: Term) -> str:
    """Write a term, so that `parse_term` reads the same."""
    counted: dict[str, int] = {}
    for factor in term:
        counted[factor.text] = counted.get(factor.text, 0) + 1
    return "*".join(text if count == 1 else f"{text}^{count}" for text, count in counted.items()) or "1"

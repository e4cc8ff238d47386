"""How arrays come back out of a package: checked, so that a bad one is named and not computed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["array"]


def array(
    arrays: Mapping[str, NDArray[Any]], name: str, dimensions: int, shape: tuple[int | None, ...] | None = None
) -> NDArray[np.float64]:
    """An array of a package, as float64.

    Raises:
        ConfigError: it is missing, or its shape is not the one wanted (None: any length), or a number is not finite.
    """
    if name not in arrays:
        raise ConfigError(f"the package lacks the array {name}: make it again")
    found = np.asarray(arrays[name], np.float64)
    wanted = shape if shape is not None else (None,) * dimensions
    if found.ndim != dimensions or any(w not in (None, f) for w, f in zip(wanted, found.shape, strict=True)):
        raise ConfigError(f"the array {name} has shape {found.shape}, wanted {wanted}: make the package again")
    if not np.all(np.isfinite(found)):
        raise ConfigError(f"the array {name} holds a number that is not finite: make the package again")
    return found

"""The detectors there are, and how one comes out of a package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trueline_model.detectors.deviation import Deviation
from trueline_model.detectors.pca import Pca
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from trueline_model.detector import Detector, Parts

__all__ = ["DETECTORS", "AnyRecipe", "Deviation", "Pca", "detector_from"]

AnyRecipe = Deviation | Pca
"""Every recipe, told apart by `detector`."""

DETECTORS: Final = {"deviation": Deviation, "pca": Pca}
"""Recipe of each kind."""


def detector_from(parts: Parts) -> Detector:
    """The detector whose `parts()` these are.

    Raises:
        ConfigError: no such kind, a setting it does not have, an array missing or of another shape.
    """
    if parts.kind not in DETECTORS:
        raise ConfigError(f"no detector is called {parts.kind}: there are {', '.join(sorted(DETECTORS))}")
    try:
        recipe: AnyRecipe = msgspec.convert({"detector": parts.kind, **parts.settings}, type=DETECTORS[parts.kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings of detector {parts.kind}: {error}") from error
    return recipe.detector(parts.arrays)

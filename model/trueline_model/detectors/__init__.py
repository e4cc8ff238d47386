"""The detectors there are, and how one comes out of a package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trueline_model.detectors.chart import Chart
from trueline_model.detectors.cusum import Cusum
from trueline_model.detectors.deviation import Deviation
from trueline_model.detectors.ensemble import Ensemble
from trueline_model.detectors.forest import Forest
from trueline_model.detectors.innovation import Innovation
from trueline_model.detectors.network import Network
from trueline_model.detectors.novelty import Novelty
from trueline_model.detectors.patches import Patches
from trueline_model.detectors.pca import Pca
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from trueline_model.detector import Detector, Parts
    from trueline_model.detectors.network import Model

__all__ = [
    "DETECTORS",
    "AnyRecipe",
    "Chart",
    "Cusum",
    "Deviation",
    "Ensemble",
    "Forest",
    "Innovation",
    "Network",
    "Novelty",
    "Patches",
    "Pca",
    "detector_from",
    "network_in",
]

AnyRecipe = Chart | Cusum | Deviation | Ensemble | Forest | Innovation | Network | Novelty | Patches | Pca
"""Every recipe, told apart by `detector`."""

DETECTORS: Final = {
    "chart": Chart,
    "cusum": Cusum,
    "deviation": Deviation,
    "ensemble": Ensemble,
    "forest": Forest,
    "innovation": Innovation,
    "network": Network,
    "novelty": Novelty,
    "patches": Patches,
    "pca": Pca,
}
"""Recipe of each kind."""


def detector_from(parts: Parts, model: Model | None = None) -> Detector:
    """The detector whose `parts()` these are.

    Args:
        parts: as a package holds them.
        model: the network, for kind "network" and for an ensemble that has one.

    Raises:
        ConfigError: no such kind, a setting it does not have, an array missing or of another shape, no network.
    """
    recipe = _recipe(parts)
    if isinstance(recipe, Ensemble):
        return recipe.detector(parts.arrays, model)
    if not isinstance(recipe, Network):
        return recipe.detector(parts.arrays)
    if model is None:
        raise ConfigError("a detector of kind network wants its network: load it with LiteRT and give it")
    return recipe.detector(parts.arrays, model)


def network_in(parts: Parts) -> Network | None:
    """How the network of a detector is asked; None where it has none.

    Raises:
        ConfigError: no such kind, or a setting it does not have.
    """
    recipe = _recipe(parts)
    return recipe.network if isinstance(recipe, Ensemble) else recipe if isinstance(recipe, Network) else None


def _recipe(parts: Parts) -> AnyRecipe:
    if parts.kind not in DETECTORS:
        raise ConfigError(f"no detector is called {parts.kind}: there are {', '.join(sorted(DETECTORS))}")
    try:
        recipe: AnyRecipe = msgspec.convert({"detector": parts.kind, **parts.settings}, type=DETECTORS[parts.kind])
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings of detector {parts.kind}: {error}") from error
    return recipe

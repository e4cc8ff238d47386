"""What most detectors share: how channels are scaled, and how arrays come back out of a package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec
import numpy as np

from trueline_model.arrays import array
from trueline_model.detector import Parts, Scored
from trueline_model.rows import row_sum
from trueline_model.scale import Scale, fit_scale
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import State
    from trueline_model.series import Series

__all__ = ["DetectorSettings", "ScaledDetector", "judged", "training"]


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="detector"):
    """Scaling of channels.

    Attributes:
        scaling: "robust" (median, interquartile range) or "standard" (mean, standard deviation).
        clip: largest deviation one channel can have, in scales.
    """

    scaling: Literal["robust", "standard"] = "robust"
    clip: float = 1e6

    def __post_init__(self) -> None:
        if not self.clip > 0.0:
            raise ValueError(f"clip {self.clip} must be above 0")

    def parts(self, **arrays: NDArray[Any]) -> Parts:
        """This recipe with the arrays fitted."""
        settings = msgspec.to_builtins(self)
        return Parts(settings.pop("detector"), settings, arrays)

    def scale(self, arrays: Mapping[str, NDArray[Any]]) -> Scale:
        """The scale among the arrays.

        Raises:
            ConfigError: centre or scale is missing, or they differ in shape.
        """
        centre = array(arrays, "centre", 1)
        return Scale(centre, array(arrays, "scale", 1, centre.shape), self.clip)


R = TypeVar("R", bound=DetectorSettings)


@dataclass(frozen=True, slots=True, eq=False)
class ScaledDetector(Generic[R]):
    """A recipe with the fitted centre and scale of each channel."""

    recipe: R
    scale: Scale

    @property
    def width(self) -> int:
        """As `Detector`."""
        return len(self.scale.centre)

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept()

    def kept(self, **arrays: NDArray[Any]) -> Parts:
        """Parts: the scale, and what else was fitted."""
        return self.recipe.parts(centre=self.scale.centre, scale=self.scale.scale, **arrays)


def training(
    settings: DetectorSettings, series: Sequence[Series], rows_min: int = 2
) -> tuple[Scale, NDArray[np.float64], NDArray[np.bool_]]:
    """The scale of the training part, all its rows scaled (n, k), and which cells are valid.

    Raises:
        ConfigError: fewer than `rows_min` rows, other channels in one than in another, or one without valid values.
    """
    rows = sum(map(len, series))
    if rows < rows_min:
        raise ConfigError(f"{rows} rows of training data: at least {rows_min} are wanted")
    if any(each.channels != series[0].channels for each in series):
        raise ConfigError("the recordings have different channels: give those of one stream")
    scale = fit_scale(series, clip=settings.clip, method=settings.scaling)
    valid = np.concatenate([each.valid for each in series])
    return scale, scale(np.concatenate([each.value for each in series]), valid), valid


def judged(contribution: NDArray[np.float64], state: State) -> Scored:
    """Scores of contributions (n, k), whose rows are NaN where nothing can be said."""
    said = np.isfinite(contribution[:, 0])
    filled = np.where(said[:, None], contribution, 0.0)
    return Scored(np.where(said, row_sum(filled), np.nan), filled, state)

"""Networks as recipes: fitted and compared like every other detector (`trueline_model.selection`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from trueline_cloud.learning.dataset import Split
from trueline_cloud.learning.fit import fit_network
from trueline_cloud.learning.made import join
from trueline_model.series import between
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_cloud.learning.fit import Fitted
    from trueline_cloud.learning.settings import TrainSettings
    from trueline_model.detector import Detector, Recipe
    from trueline_model.series import Series

__all__ = ["NetworkRecipe"]

_VALIDATED: Final = 0.2


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of the zoo, alone or with other detectors beside it.

    Attributes:
        architecture: a key of `ZOO`.
        rows: of a window; None for what the architecture likes.
        judged: rows of a reconstruction that count.
        settings: of the training; the seed is that of the fit.
        beside: detectors whose p-values join the network's.
        known: networks trained before, by what they saw; shared among copies.
    """

    architecture: str
    rows: int | None
    judged: str
    settings: TrainSettings
    beside: tuple[Recipe, ...] = ()
    known: dict[str, Fitted] = field(default_factory=dict, compare=False, repr=False)

    def fit(self, series: Sequence[Series], seed: int = 0) -> Detector:
        """The int8 network, with the others beside it.

        Raises:
            ConfigError: too few rows, or the network cannot be so small or large.
        """
        fitted = self.fitted(series, seed)
        return join(self.architecture, fitted, self.beside, seed).detector if self.beside else fitted.detector

    def fitted(self, series: Sequence[Series], seed: int = 0) -> Fitted:
        """The network trained on the first four fifths of the rows, and validated on the last."""
        seen = hashlib.sha256(repr((self.architecture, self.rows, self.judged, self.settings, seed)).encode())
        for each in series:
            seen.update(np.ascontiguousarray(each.value).tobytes() + np.packbits(each.valid).tobytes())
        key = seen.hexdigest()
        if key not in self.known:
            rows = sum(map(len, series))
            cut = round((1.0 - _VALIDATED) * rows)
            parts = Split(between(series, 0, cut), between(series, cut, rows), [])
            settings = msgspec.structs.replace(self.settings, seed=seed)
            self.known[key] = fit_network(
                [], self.architecture, settings, rows=self.rows, judged=self.judged, parts=parts
            )
        return self.known[key]

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> Detector:
        """Never: a network comes out of a package with its file.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.architecture}: a network wants its file beside {len(arrays)} arrays")

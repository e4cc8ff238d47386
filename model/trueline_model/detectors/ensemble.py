"""Several detectors as one, by their p-values: strange is what one of them finds very strange, or all somewhat.

Each member's score becomes a surprise (-log10 p) against rows it was not fitted to, so members with different scales
have one vote each; the mean surprise is Fisher's combination (Statistical Methods for Research Workers, 1925) and the
highest is Tippett's (1931), as `combine` says. Members go together, so neither is a p-value again: the ensemble is
calibrated like any other detector. With a memory, p-values are counted among the last scores (`recalibration`): one
member whose scores drift away does not drown the others. One member may be a network; it is trained elsewhere, and
joins by `together`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from trueline_model.conformal import Calibration, calibrate
from trueline_model.detector import Parts, out_of_fold
from trueline_model.detectors.chart import Chart
from trueline_model.detectors.cusum import Cusum
from trueline_model.detectors.deviation import Deviation
from trueline_model.detectors.forest import Forest
from trueline_model.detectors.innovation import Innovation
from trueline_model.detectors.network import Network
from trueline_model.detectors.novelty import Novelty
from trueline_model.detectors.patches import Patches
from trueline_model.detectors.pca import Pca
from trueline_model.detectors.settings import judged
from trueline_model.recalibration import MEMORY_MIN, Recalibration
from trueline_model.rows import running_mean
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Detector, Scored, State
    from trueline_model.detectors.network import Model
    from trueline_model.series import Series

__all__ = ["Ensemble", "EnsembleDetector", "Member", "together"]

Member = Chart | Cusum | Deviation | Forest | Innovation | Network | Novelty | Patches | Pca

_KEPT_MAX = 150
"""Points kept of a member's calibration: its votes are added, and fine steps of one are lost in the sum."""


class Ensemble(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="detector", tag="ensemble"
):
    """Settings of a combination.

    Attributes:
        members: recipes, two at least, of which one may be a network.
        combine: "mean" of the surprises (Fisher) or the "highest" (Tippett).
        folds: blocks of time each recording is cut into for calibration, two at least.
        mean_rows: the score is the mean of that many rows.
        memory_rows: scores of each member that p-values are counted among while it runs; 0: those of calibration.
    """

    members: tuple[Member, ...]
    combine: Literal["mean", "highest"] = "mean"
    folds: int = 3
    mean_rows: int = 1
    memory_rows: int = 0

    def __post_init__(self) -> None:
        if len(self.members) < 2:  # noqa: PLR2004 - two make a combination
            raise ValueError("an ensemble wants two members at least")
        if sum(isinstance(member, Network) for member in self.members) > 1:
            raise ValueError("an ensemble has room for one network: a package holds no more")
        if self.folds < 2:  # noqa: PLR2004 - one to fit, one to calibrate
            raise ValueError(f"folds {self.folds} must be at least 2")
        if self.mean_rows < 1:
            raise ValueError(f"mean_rows {self.mean_rows} must be at least 1")
        if self.memory_rows and self.memory_rows < MEMORY_MIN:
            raise ValueError(f"memory_rows {self.memory_rows} must be 0, or at least {MEMORY_MIN}")

    def fit(self, series: Sequence[Series], seed: int = 0) -> EnsembleDetector:
        """Members fitted to all rows; calibrated with each block of rows scored by members fitted to the others."""
        members: list[Detector] = []
        calibrations = []
        for number, recipe in enumerate(self.members):
            if isinstance(recipe, Network):
                raise ConfigError("a network does not fit itself: train it, and join it by `together`")
            members.append(recipe.fit(series, seed + number))
            scores = out_of_fold(recipe, series, self.folds, seed + number)
            calibrations.append(calibrate(scores, kept_max=_KEPT_MAX))
        return EnsembleDetector(self, tuple(members), tuple(calibrations))

    @property
    def learns(self) -> bool:
        """It goes on with what it scores: rows it was fitted to must not be given again."""
        return self.memory_rows > 0 or any(isinstance(member, Novelty) for member in self.members)

    @property
    def network(self) -> Network | None:
        """The member that is one."""
        return next((member for member in self.members if isinstance(member, Network)), None)

    def detector(self, arrays: Mapping[str, NDArray[Any]], model: Model | None = None) -> EnsembleDetector:
        """As `Recipe`; a member that is a network wants its model.

        Raises:
            ConfigError: there is a network among the members, and no model.
        """
        members: list[Detector] = []
        calibrations = []
        for number, recipe in enumerate(self.members):
            own = {k.removeprefix(f"{number}."): v for k, v in arrays.items() if k.startswith(f"{number}.")}
            try:
                members.append(_made(recipe, own, model))
                calibrations.append(
                    Calibration.from_arrays({k.removeprefix("p."): v for k, v in own.items() if k.startswith("p.")})
                )
            except ConfigError as error:
                raise ConfigError(f"member {number}: {error}") from error
        if len({member.width for member in members}) != 1:
            raise ConfigError("the members want different numbers of channels: make the package again")
        return EnsembleDetector(self, tuple(members), tuple(calibrations))


def _made(recipe: Member, arrays: Mapping[str, NDArray[Any]], model: Model | None) -> Detector:
    if not isinstance(recipe, Network):
        return recipe.detector(arrays)
    if model is None:
        raise ConfigError("it is a network, and there is nothing that runs it")
    return recipe.detector(arrays, model)


def together(members: Sequence[tuple[Detector, NDArray[np.float64]]]) -> EnsembleDetector:
    """Fitted detectors as one (Fisher).

    Args:
        members: each with its scores of normal rows it was not fitted to.

    Raises:
        ConfigError: a detector that cannot be a member, or fewer than 20 scores.
    """
    try:
        recipes = [{"detector": found.kind, **found.settings} for found in (each.parts() for each, _ in members)]
        recipe = msgspec.convert({"detector": "ensemble", "members": recipes}, Ensemble)
    except msgspec.ValidationError as error:
        raise ConfigError(f"these detectors make no ensemble: {error}") from error
    calibrations = tuple(calibrate(scores, kept_max=_KEPT_MAX) for _, scores in members)
    return EnsembleDetector(recipe, tuple(detector for detector, _ in members), calibrations)


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleDetector:
    """Fitted members, each with what its normal scores look like."""

    recipe: Ensemble
    members: tuple[Detector, ...]
    calibrations: tuple[Calibration, ...]

    @property
    def width(self) -> int:
        """As `Detector`."""
        return self.members[0].width

    @property
    def warm_up(self) -> int:
        """As `Detector`: members that speak earlier are heard earlier."""
        return max(min(member.warm_up for member in self.members), self.recipe.mean_rows - 1)

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        total, count = np.zeros(value.shape), np.zeros(len(value))
        highest = np.full(len(value), -np.inf)
        left: State = {}
        for number, (member, calibration) in enumerate(zip(self.members, self.calibrations, strict=True)):
            prefix = f"{number}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} if state else None
            scored = member.score(value, valid, own)
            left |= {prefix + k: v for k, v in scored.state.items()}
            if self.recipe.memory_rows:
                known = {k.removeprefix("p."): v for k, v in own.items() if k.startswith("p.")} if own else None
                _, decades, memory = Recalibration(calibration, self.recipe.memory_rows)(scored.score, known)
                left |= {f"{prefix}p.{k}": v for k, v in memory.items()}
            else:
                decades = calibration.surprise(scored.score)
            said = np.isfinite(decades)
            share = np.zeros(value.shape)
            weight = np.where(said & (scored.score > 0.0), decades, 0.0)
            np.divide(
                scored.contribution * weight[:, None], scored.score[:, None], out=share, where=weight[:, None] > 0.0
            )
            if self.recipe.combine == "mean":
                total += share
                count += said
            else:
                higher = said & (decades > highest)
                total[higher], highest[higher], count[higher] = share[higher], decades[higher], 1.0
        raw = np.full(value.shape, np.nan)
        np.divide(total, count[:, None], out=raw, where=count[:, None] > 0.0)
        mean, kept = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, {**left, **kept})

    def parts(self) -> Parts:
        """As `Detector`."""
        settings = msgspec.to_builtins(self.recipe)
        arrays: dict[str, NDArray[Any]] = {}
        for number, (member, calibration) in enumerate(zip(self.members, self.calibrations, strict=True)):
            arrays |= {f"{number}.{k}": v for k, v in member.parts().arrays.items()}
            arrays |= {f"{number}.p.{k}": v for k, v in calibration.arrays().items()}
        return Parts(settings.pop("detector"), settings, arrays)

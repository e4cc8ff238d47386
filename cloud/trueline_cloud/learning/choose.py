"""What `--model auto` takes: statistical detectors, networks and ensembles of both, compared alike, under the budget.

Promises: every candidate is judged by `selection.rank`, on the past at several cuts in time, and the calibration part
is not touched; one that is larger or slower than the budget is never chosen; seeded. Where TensorFlow is not installed,
or the recordings are too short to train on, networks are left out, and that is said. Refuses to be a proof that the
winner is best on real anomalies: see `selection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trueline_cloud.learning.made import Budget, cost
from trueline_model.selection import STANDING, best, candidates, rank, standing_name
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trueline_cloud.learning.settings import TrainSettings
    from trueline_model.detector import Recipe
    from trueline_model.selection import Candidate
    from trueline_model.series import Series

__all__ = ["ROWS_MIN", "Choice", "affordable", "choose", "without_networks"]

ROWS_MIN: Final = 1000
"""Fewer rows train no network that another detector would have to fear."""

_PROBE_ROWS: Final = 2000
_HEAVY: Final = {"tensorflow", "keras", "optuna", "ai_edge_litert"}


class Choice(msgspec.Struct, frozen=True):
    """A candidate, and what it reached.

    Attributes:
        name: of a statistical detector, of a network, or "ensemble+NETWORK".
        merit: mean average precision among injected trouble.
        spread: of it over seeds.
        rows: of a network's window; 0 without one.
        judged: which of them count.
        rate: of learning.
    """

    name: str
    merit: float = 0.0
    spread: float = 0.0
    rows: int = 0
    judged: str = "window"
    rate: float = 0.0

    @property
    def network(self) -> str:
        """The network's name; "" without one."""
        return self.name.removeprefix(f"{STANDING}+") if self.rows else ""

    @property
    def joined(self) -> bool:
        """Is the network one member of an ensemble?"""
        return self.rows > 0 and self.name.startswith(f"{STANDING}+")


def affordable(recipes: Mapping[str, Recipe], series: Series, budget: Budget) -> dict[str, Recipe]:
    """Those within the budget, fitted to the first rows; what cannot be fitted is left to say so later."""
    rows = series[:_PROBE_ROWS]
    found = {}
    for name, recipe in recipes.items():
        try:
            detector = recipe.fit([rows])
        except ConfigError:
            continue
        if budget.holds(*cost(detector, rows)):
            found[name] = recipe
    return found


def without_networks(recordings: Sequence[Sequence[Series]]) -> str:
    """Why no network is tried: "" where they are."""
    rows = min(sum(map(len, own)) for own in recordings)
    return "" if rows >= ROWS_MIN else f"{rows} rows are too few to train a network: {ROWS_MIN} are wanted"


def choose(
    recordings: Sequence[Sequence[Series]],
    settings: TrainSettings,
    budget: Budget,
    *,
    trials: int = 12,
    told: Callable[[str], None] = lambda _text: None,
) -> list[Choice]:
    """Candidates within the budget, the one to take first, then by merit.

    Args:
        recordings: for each thing watched, its training and validation part, in order of time; one choice for all.
        settings: of a final training; candidates get fewer rounds.
        budget: of the device.
        trials: networks tried.
        told: of each candidate, and of what is left out.

    Raises:
        ConfigError: nothing is within the budget.
    """
    first = max(recordings[0], key=len)
    statistical = affordable(candidates(first.value.shape[1]), first, budget)
    ranked = rank(statistical, recordings) if statistical else []
    for each in ranked:
        told(f"{each.name}: {each.precision:.3f}")
    found = {each.name: Choice(each.name, each.precision, each.spread) for each in ranked}
    why = without_networks(recordings)
    if not why and trials:
        try:
            from trueline_cloud.learning.search import search  # noqa: PLC0415 - TensorFlow, where it is wanted

            tried, choices = search(recordings, settings, budget, trials=trials, told=told)
            ranked = [*ranked, *tried]
            found |= {each.name: each for each in choices}
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _HEAVY:
                raise
            why = f'{error.name} is missing (pip install "trueline[train]")'
    if why:
        told(f"no network is tried: {why}")
    if not ranked:
        raise ConfigError(
            f"no model is within {budget.size_kb:g} KB and {budget.latency_us:g} us on {first.value.shape[1]} "
            "channels: raise --budget-kb or --budget-us, or name fewer channels"
        )
    rows = min(sum(map(len, own)) for own in recordings)
    return _ordered(ranked, found, standing_name(rows, first.value.shape[1]))


def _ordered(ranked: Sequence[Candidate], found: Mapping[str, Choice], standing: str) -> list[Choice]:
    """The one to take, then the others by merit."""
    by_merit = sorted(ranked, key=lambda each: -each.precision)
    taken = best(by_merit, standing)
    return [found[taken.name], *(found[each.name] for each in by_merit if each is not taken)]

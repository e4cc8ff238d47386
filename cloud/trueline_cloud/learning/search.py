"""Which network, and with which settings: a small search by Optuna, under the budget of the device.

Promises: each candidate is judged as every other detector is (`trueline_model.selection.rank`); one that is larger or
slower than the budget is never trained; the best is tried once more as a member of the standing ensemble; seeded.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import optuna

from trueline_cloud.learning.choose import Choice
from trueline_cloud.learning.lite import Int8
from trueline_cloud.learning.quantise import to_int8
from trueline_cloud.learning.recipes import NetworkRecipe
from trueline_cloud.learning.zoo import RANKED, ZOO
from trueline_model.selection import STANDING, rank, standing
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_cloud.learning.made import Budget
    from trueline_cloud.learning.settings import TrainSettings
    from trueline_model.selection import Candidate
    from trueline_model.series import Series

__all__ = ["search"]

_SPANS: Final = (0.5, 1.0, 2.0)
"""Lengths of windows tried, of what the network likes."""

_EPOCHS: Final = 15
_WINDOWS: Final = 2048
_WINDOWS_UNTRAINED: Final = 16
_RATES: Final = (1e-3, 1e-2)


def search(
    recordings: Sequence[Sequence[Series]],
    settings: TrainSettings,
    budget: Budget,
    *,
    trials: int = 12,
    architectures: Sequence[str] = RANKED,
    told: Callable[[str], None] = lambda _text: None,
) -> tuple[list[Candidate], list[Choice]]:
    """Networks within the budget and what they reached, best first, each architecture as it did best.

    Args:
        recordings: as in `choose`.
        settings: of the final training; candidates get fewer rounds.
        budget: of the device.
        trials: candidates tried.
        architectures: of `ZOO`.
        told: outcome of each.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quick = msgspec.structs.replace(settings, epochs_max=min(_EPOCHS, settings.epochs_max), windows_max=_WINDOWS)
    width = recordings[0][0].value.shape[1]
    found: dict[str, tuple[Candidate, Choice, NetworkRecipe]] = {}

    def merit_of(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("architecture", list(architectures))
        rows = round(ZOO[name].rows * trial.suggest_categorical("span", _SPANS))
        judged = trial.suggest_categorical("judged", ["window", "last"])
        rate = trial.suggest_float("rate", *_RATES, log=True)
        if not _affordable(name, rows, width, budget):
            told(f"{name} of {rows} rows: over the budget")
            raise optuna.TrialPruned
        recipe = NetworkRecipe(name, rows, judged, msgspec.structs.replace(quick, rate=rate))
        try:
            (reached,) = rank({name: recipe}, recordings)
        except ConfigError as error:
            told(f"{name} of {rows} rows: {error}")
            raise optuna.TrialPruned from error
        told(f"{name} of {rows} rows, {judged}: {reached.precision:.3f}")
        if name not in found or reached.precision > found[name][0].precision:
            found[name] = reached, Choice(name, reached.precision, reached.spread, rows, judged, rate), recipe
        return reached.precision

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    for name in architectures:  # each as it is by default, before anything is guessed
        study.enqueue_trial({"architecture": name, "span": 1.0, "judged": "window", "rate": settings.rate})
    study.optimize(merit_of, n_trials=trials)
    ordered = sorted(found.values(), key=lambda each: -each[0].precision)
    if not ordered:
        return [], []
    joined, choice = _joined(*ordered[0][1:], recordings, told)
    return [joined, *(each for each, _, _ in ordered)], [choice, *(each for _, each, _ in ordered)]


def _joined(
    choice: Choice,
    recipe: NetworkRecipe,
    recordings: Sequence[Sequence[Series]],
    told: Callable[[str], None],
) -> tuple[Candidate, Choice]:
    """The network as a member of the standing ensemble; it is not trained again."""
    beside = dataclasses.replace(recipe, beside=standing(recordings[0][0].value.shape[1]))
    name = f"{STANDING}+{choice.name}"
    (reached,) = rank({name: beside}, recordings)
    told(f"{name}: {reached.precision:.3f}")
    return reached, msgspec.structs.replace(choice, name=name, merit=reached.precision, spread=reached.spread)


def _affordable(architecture: str, rows: int, channels: int, budget: Budget) -> bool:
    """Is it within the budget? Which numbers are learnt changes neither size nor time: it is asked before training."""
    random = np.random.default_rng(0)
    windows = random.normal(size=(_WINDOWS_UNTRAINED, rows, channels)).astype(np.float32)
    try:
        model = ZOO[architecture].build(rows, channels)
    except ConfigError:
        return False
    for weight in model.weights:  # as if learnt: biases that are all 0 would be stored once
        weight.assign(random.normal(size=weight.shape))
    tflite = to_int8(model, windows)
    return budget.holds(len(tflite), Int8(tflite, (-1,)).latency_us())

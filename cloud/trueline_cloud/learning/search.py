"""Which network, and with which settings: a small search by Optuna, under the budget of the device.

Promises: each candidate is trained on the past and judged on what follows, at several cuts in time (`folds`), by how
well it finds faults put into that; one that is larger or slower than the budget is never chosen; seeded. The
calibration part is not touched. Refuses to be a proof that the winner is best on real anomalies: see `inject`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
import optuna

from trueline_cloud.learning.dataset import Split, folds
from trueline_cloud.learning.fit import fit_network
from trueline_cloud.learning.inject import inject
from trueline_cloud.learning.pack import average_precision
from trueline_cloud.learning.zoo import ZOO
from trueline_model.detector import score_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_cloud.learning.fit import Fitted
    from trueline_cloud.learning.train import TrainSettings
    from trueline_model.series import Series

__all__ = ["Budget", "Choice", "search"]

_FOLDS: Final = 2
_ROWS: Final = (16, 32, 64)
_EPOCHS: Final = 15
_WINDOWS: Final = 2048


class Budget(NamedTuple):
    """What the device gives a model.

    Attributes:
        size_kb: of the network's file, 1,024 bytes each.
        latency_us: of a bare invoke on the machine that searches.
    """

    size_kb: float = 64.0
    latency_us: float = 30.0

    def holds(self, fitted: Fitted) -> bool:
        """Is the network within?"""
        return len(fitted.tflite) <= self.size_kb * 1024 and fitted.latency_us <= self.latency_us


class Choice(msgspec.Struct, frozen=True):
    """A candidate.

    Attributes:
        architecture: a key of `ZOO`.
        rows: of a window.
        judged: which of them count.
        rate: of learning.
        merit: mean average precision over the folds.
    """

    architecture: str
    rows: int
    judged: str
    rate: float
    merit: float


def search(
    series: Sequence[Series],
    settings: TrainSettings,
    budget: Budget,
    *,
    trials: int = 12,
    architectures: Sequence[str] = tuple(ZOO),
    told: Callable[[int, str], None] = lambda _number, _text: None,
) -> list[Choice]:
    """Candidates within the budget, best first.

    Args:
        series: training and validation part, in order of time.
        settings: of the final training; candidates get fewer rounds.
        budget: of the device.
        trials: candidates tried.
        architectures: of `ZOO`.
        told: number and outcome of each.

    Raises:
        ConfigError: none is within the budget.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quick = msgspec.structs.replace(settings, epochs_max=min(_EPOCHS, settings.epochs_max), windows_max=_WINDOWS)
    found: list[Choice] = []

    def merit_of(trial: optuna.Trial) -> float:
        choice = Choice(
            trial.suggest_categorical("architecture", list(architectures)),
            trial.suggest_categorical("rows", _ROWS),
            trial.suggest_categorical("judged", ["window", "last"]),
            trial.suggest_float("rate", 1e-3, 1e-2, log=True),
            0.0,
        )
        merit = _merit(series, choice, msgspec.structs.replace(quick, rate=choice.rate), budget)
        if merit is None:
            told(trial.number, f"{choice.architecture} of {choice.rows} rows: over the budget")
            raise optuna.TrialPruned
        found.append(msgspec.structs.replace(choice, merit=merit))
        told(trial.number, f"{choice.architecture} of {choice.rows} rows, {choice.judged}: {merit:.3f}")
        return merit

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.optimize(merit_of, n_trials=trials)
    if not found:
        raise ConfigError(
            f"no network is within {budget.size_kb:g} KB and {budget.latency_us:g} us on {series[0].value.shape[1]} "
            "channels: raise --budget-kb or --budget-us, or name fewer channels"
        )
    return sorted(found, key=lambda choice: -choice.merit)


def _merit(series: Sequence[Series], choice: Choice, settings: TrainSettings, budget: Budget) -> float | None:
    """Mean average precision over the folds; None where it is over the budget."""
    merits = []
    for number, (train, validate) in enumerate(folds(series, choice.rows + 1, _FOLDS)):
        parts = Split(train, validate, [])
        fitted = fit_network([], choice.architecture, settings, rows=choice.rows, judged=choice.judged, parts=parts)
        if not budget.holds(fitted):
            return None
        for each in validate:
            failed, marked = inject(each, fitted.detector.scale, settings.seed + number)
            if marked.any():
                merits.append(average_precision(marked > 0, score_series(fitted.detector, failed).score))
    return float(np.mean(merits)) if merits else 0.0

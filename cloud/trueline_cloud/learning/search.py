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
from trueline_cloud.learning.quantise import Int8, to_int8
from trueline_cloud.learning.zoo import ZOO
from trueline_model.detector import score_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_cloud.learning.train import TrainSettings
    from trueline_model.series import Series

__all__ = ["Budget", "Choice", "search"]

_FOLDS: Final = 2
_SPANS: Final = (0.5, 1.0, 2.0)
"""Lengths of windows tried, of what the network likes."""

_EPOCHS: Final = 15
_WINDOWS: Final = 2048
_WINDOWS_UNTRAINED: Final = 16
_RATES: Final = (1e-3, 1e-2)


class Budget(NamedTuple):
    """What the device gives a model.

    Attributes:
        size_kb: of the network's file, 1,024 bytes each.
        latency_us: of a bare invoke on the machine that searches.
    """

    size_kb: float = 64.0
    latency_us: float = 30.0

    def holds(self, size_bytes: int, latency_us: float) -> bool:
        """Is a network within?"""
        return size_bytes <= self.size_kb * 1024 and latency_us <= self.latency_us


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
        name = trial.suggest_categorical("architecture", list(architectures))
        choice = Choice(
            name,
            round(ZOO[name].rows * trial.suggest_categorical("span", _SPANS)),
            trial.suggest_categorical("judged", ["window", "last"]),
            trial.suggest_float("rate", *_RATES, log=True),
            0.0,
        )
        if not _affordable(choice, series[0].value.shape[1], budget):
            told(trial.number, f"{choice.architecture} of {choice.rows} rows: over the budget")
            raise optuna.TrialPruned
        merit = _merit(series, choice, msgspec.structs.replace(quick, rate=choice.rate))
        found.append(msgspec.structs.replace(choice, merit=merit))
        told(trial.number, f"{choice.architecture} of {choice.rows} rows, {choice.judged}: {merit:.3f}")
        return merit

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    for name in architectures:  # each as it is by default, before anything is guessed
        study.enqueue_trial({"architecture": name, "span": 1.0, "judged": "window", "rate": settings.rate})
    study.optimize(merit_of, n_trials=trials)
    if not found:
        raise ConfigError(
            f"no network is within {budget.size_kb:g} KB and {budget.latency_us:g} us on {series[0].value.shape[1]} "
            "channels: raise --budget-kb or --budget-us, or name fewer channels"
        )
    return sorted(found, key=lambda choice: -choice.merit)


def _affordable(choice: Choice, channels: int, budget: Budget) -> bool:
    """Is it within the budget? Which numbers are learnt changes neither size nor time: it is asked before training."""
    random = np.random.default_rng(0)
    windows = random.normal(size=(_WINDOWS_UNTRAINED, choice.rows, channels)).astype(np.float32)
    model = ZOO[choice.architecture].build(choice.rows, channels)
    for weight in model.weights:  # as if learnt: biases that are all 0 would be stored once
        weight.assign(random.normal(size=weight.shape))
    tflite = to_int8(model, windows)
    return budget.holds(len(tflite), Int8(tflite, (-1,)).latency_us())


def _merit(series: Sequence[Series], choice: Choice, settings: TrainSettings) -> float:
    """Mean average precision over the folds."""
    merits = []
    for number, (train, validate) in enumerate(folds(series, choice.rows + 1, _FOLDS)):
        parts = Split(train, validate, [])
        fitted = fit_network([], choice.architecture, settings, rows=choice.rows, judged=choice.judged, parts=parts)
        for each in validate:
            failed, marked = inject(each, fitted.detector.scale, settings.seed + number)
            if marked.any():
                merits.append(average_precision(marked > 0, score_series(fitted.detector, failed).score))
    return float(np.mean(merits)) if merits else 0.0

"""How a network is trained, and what a round of it gave; known without loading TensorFlow."""

from __future__ import annotations

import msgspec

__all__ = ["Epoch", "TrainSettings"]


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how fast.

    Attributes:
        epochs_max: rounds over the windows, at most.
        patience: rounds without a better validation loss before it ends.
        windows_max: windows in a round, drawn anew for each where there are more.
        batch: windows a step.
        rate: of learning, at the start.
        seed: of weights, orders and hidden cells.
    """

    epochs_max: int = 60
    patience: int = 8
    windows_max: int = 8192
    batch: int = 64
    rate: float = 3e-3
    seed: int = 0


class Epoch(msgspec.Struct, frozen=True):
    """One round, as a report draws it.

    Attributes:
        number: from 0.
        loss: mean over the round, with cells hidden.
        validation: mean over the validation windows, with none hidden.
    """

    number: int
    loss: float
    validation: float

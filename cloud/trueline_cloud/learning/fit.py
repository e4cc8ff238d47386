"""From recordings of normal running to an int8 network that scores: one call, for command, search and benchmark.

Promises: scaling and weights come from the training part alone, the epoch is chosen on the validation part, and the
calibration part is seen by nothing here; same recordings, settings and seed, same network. Refuses to know files but
the checkpoint, and labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trueline_cloud.learning.dataset import split, windowed
from trueline_cloud.learning.examples import examples, rows_more, seen
from trueline_cloud.learning.lite import Int8
from trueline_cloud.learning.quantise import operations, to_int8
from trueline_cloud.learning.train import TrainSettings, predict, train
from trueline_cloud.learning.zoo import ZOO
from trueline_model.detectors.bank import make_bank, spread_out
from trueline_model.detectors.network import CLIP, Network, NetworkDetector
from trueline_model.scale import fit_scale
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_cloud.learning.dataset import Split, Windowed
    from trueline_cloud.learning.train import Epoch
    from trueline_model.detectors.bank import Bank
    from trueline_model.detectors.network import Model
    from trueline_model.series import Series

__all__ = ["Fitted", "fit_network"]

_VALIDATION_STRIDE: Final = 4  # windows so near one another say the same
_BANK: Final = 256
_BANK_DRAWN: Final = 8192


class Fitted(NamedTuple):
    """A network that was trained.

    Attributes:
        architecture: a key of `ZOO`.
        recipe: how windows go in and scores come out.
        detector: the int8 network, scoring.
        reference: the float network it was made of, scoring.
        tflite: the int8 network's file.
        latency_us: of a bare invoke of one window on this machine.
        operations: multiply-accumulates a window.
        parts: what it was trained and validated on, and what is kept for calibration.
        history: its rounds.
    """

    architecture: str
    recipe: Network
    detector: NetworkDetector
    reference: NetworkDetector
    tflite: bytes
    latency_us: float
    operations: int
    parts: Split
    history: list[Epoch]


def fit_network(
    series: Sequence[Series],
    architecture: str,
    settings: TrainSettings | None = None,
    *,
    rows: int | None = None,
    judged: str = "window",
    parts: Split | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _epoch: None,
) -> Fitted:
    """Train a network of the zoo, and make it int8.

    Args:
        series: recordings of normal running in order of time, of the same channels.
        architecture: a key of `ZOO`.
        settings: of the training.
        rows: of a window; left out: what the architecture likes.
        judged: rows of a reconstruction that count: "window" or "last".
        parts: left out: 70 % of the rows train, 15 % validate, 15 % are kept for calibration.
        checkpoint: see `train`.
        progress: told each round.

    Raises:
        ConfigError: no such architecture, too few rows, or a channel without one valid value.
    """
    if architecture not in ZOO:
        raise ConfigError(f"no network is called {architecture!r}; there are: {', '.join(ZOO)}")
    build, output, usual_rows = ZOO[architecture]
    rows = rows or usual_rows
    size = rows + rows_more(output)
    parts = parts or split(series, size)
    scale = fit_scale(parts.train, clip=CLIP)
    windows = windowed(parts.train, scale, size)
    validation = windowed(parts.validate, scale, size, _VALIDATION_STRIDE)
    if not len(windows) or not len(validation):
        raise ConfigError(f"no window of {size} rows is valid to train and one to validate on: record longer")
    width = len(scale.centre)
    model, history = train(
        lambda: build(rows, width),
        output,
        windows,
        validation,
        settings or TrainSettings(),
        checkpoint=checkpoint,
        progress=progress,
    )
    asked = examples(windows, output, None).question if output == "marks" else seen(windows.value, output)
    tflite = to_int8(model, asked)
    embedded = model.output_shape[-1] if output == "embedding" else 0
    recipe = Network(rows=rows, output=output, judged=judged, embedded=embedded)  # type: ignore[arg-type]  # checked there
    answer = recipe.answer(width)
    int8 = Int8(tflite, answer)
    whole = _float(model, answer, float(asked.min()), float(asked.max()))
    small_bank, whole_bank = _banks(windows, (int8, whole)) if output == "embedding" else (None, None)
    return Fitted(
        architecture,
        recipe,
        NetworkDetector(recipe, scale, int8, small_bank),
        NetworkDetector(recipe, scale, whole, whole_bank),
        tflite,
        int8.latency_us(),
        operations(model),
        parts,
        history,
    )


def _banks(windows: Windowed, models: Sequence[Model]) -> list[Bank]:
    """Normal windows as each of the networks embeds them; the same ones, chosen by the last network."""
    random = np.random.default_rng(0)
    value, valid = seen(windows.value, "embedding"), seen(windows.valid, "embedding")
    whole = np.flatnonzero(valid.all(axis=(1, 2)))
    drawn = np.sort(random.permutation(whole if len(whole) > _BANK else len(value))[:_BANK_DRAWN])
    embedded = models[-1](value[drawn])
    kept = drawn[spread_out(embedded, _BANK, random)]
    return [make_bank(model(value[kept]), value[kept].astype(np.float64), valid[kept]) for model in models]


def _float(
    model: Any, answer: tuple[int, ...], low: float, high: float
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network in float, its input ending where int8 ends it: at what was seen in training."""
    return lambda value: predict(model, value.clip(low, high)).reshape(len(value), *answer)

"""What a network is asked, what it should answer, and where the answer counts.

A reconstruction is asked with a tenth of the cells hidden and answers with all of them (a denoising autoencoder:
P. Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008), so a network learns to
say what a missing cell was, as it must on the device, and cannot get by with copying. A cell that is not valid is never
an answer. Marks are asked with trouble put in, and answer where it is; an embedding is asked with a window, and should
answer as it does to the one a row or two before or after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trueline_cloud.learning.trouble import trouble
from trueline_model.prediction import ANSWER

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from trueline_cloud.learning.dataset import Windowed

__all__ = ["Examples", "examples", "rows_more", "seen"]

_HIDDEN: Final = 0.1
_NEAR: Final = 2
"""Rows from a window to its neighbour, at most (as PaAno has it)."""


class Examples(NamedTuple):
    """A batch as the training loop takes it.

    Attributes:
        question: (m, rows, k) float32.
        answer: (m, rows, k), (m, k) or (m, 3) float32.
        counts: as `answer`, 1 where it counts, else 0.
    """

    question: NDArray[np.float32]
    answer: NDArray[np.float32]
    counts: NDArray[np.float32]


def rows_more(output: str) -> int:
    """Rows a window for training is longer than what the network sees."""
    return {"forecast": 1, "embedding": 2 * _NEAR}.get(output, 0)


def seen(value: NDArray[Any], output: str) -> NDArray[Any]:
    """What the network sees, (m, rows, k), of windows for training, or which cells of it are valid."""
    first = _NEAR if output == "embedding" else 0
    return value[:, first : value.shape[1] - rows_more(output) + first]


def examples(windows: Windowed, output: str, random: Generator | None) -> Examples:
    """Windows as questions with answers.

    Args:
        windows: of as many rows as the network sees, and `rows_more`.
        output: as `trueline_model.detectors.network.Network` knows it, but "score"; or the "spread" of the
            windows' target: two quantiles and the mean.
        random: hides cells; None hides none, for validation, and draws whatever else is drawn always alike.
    """
    value, valid, draw = windows.value, windows.valid, random or np.random.default_rng(0)
    question, answer = seen(value, output), value
    if output == "spread":
        assert windows.target is not None  # noqa: S101 - who asks for a spread has said of what
        answer = np.repeat(windows.target[:, None], ANSWER, axis=1)
        valid = np.ones(answer.shape, np.bool_)
    elif output == "forecast":
        answer, valid = value[:, -1], valid[:, -1]
    elif output == "marks":
        question, marks = trouble(question, draw)
        answer = marks.astype(np.float32)
    elif output == "embedding":
        rows, (m, k) = question.shape[1], (len(value), value.shape[2])
        start = draw.choice((*range(_NEAR), *range(_NEAR + 1, 2 * _NEAR + 1)), m)
        answer = np.take_along_axis(value, (start[:, None] + np.arange(rows))[:, :, None], axis=1)
        valid = np.ones((m, rows, k), np.bool_)
    if random is not None:
        question = np.where(random.random(question.shape, np.float32) < _HIDDEN, np.float32(0), question)
    counts = valid.astype(np.float32)
    if windows.weight is not None:  # an error of the mean is squared, one of a quantile is not
        counts *= windows.weight[:, None] ** np.array([1, 2, 1], np.float32)
    return Examples(question, answer, counts)

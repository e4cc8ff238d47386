"""What a network is asked, what it should answer, and where the answer counts.

A reconstruction is asked with a tenth of the cells hidden and answers with all of them (a denoising autoencoder:
P. Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008), so a network learns to
say what a missing cell was, as it must on the device, and cannot get by with copying. A cell that is not valid is never
an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_model.prediction import ANSWER

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from trueline_cloud.learning.dataset import Windowed

__all__ = ["Examples", "examples"]

_HIDDEN: Final = 0.1


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


def examples(windows: Windowed, output: str, random: Generator | None) -> Examples:
    """Windows as questions with answers.

    Args:
        windows: of as many rows as the network sees, and one more for a forecast.
        output: "reconstruction", "forecast", or the "spread" of the windows' target: two quantiles and the mean.
        random: hides cells; None hides none, for validation.
    """
    value, valid = windows.value, windows.valid
    seen = value[:, :-1] if output == "forecast" else value
    if random is not None:
        seen = np.where(random.random(seen.shape, np.float32) < _HIDDEN, np.float32(0), seen)
    if output == "spread":
        assert windows.target is not None  # noqa: S101 - who asks for a spread has said of what
        answer = np.repeat(windows.target[:, None], ANSWER, axis=1)
        return Examples(seen, answer, np.ones(answer.shape, np.float32))
    if output == "forecast":
        return Examples(seen, value[:, -1], valid[:, -1].astype(np.float32))
    return Examples(seen, value, valid.astype(np.float32))

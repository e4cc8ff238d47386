"""Discords of a recording, by the matrix profile: how far each window is from the nearest one of normal running.

After C.-C. Yeh et al., "Matrix profile I", 2016, by `stumpy` (extra `discord`), which compiles itself when first asked
(half a minute). Offline only: it looks at every window of normal running for each window, some hundred million pairs a
second, and nothing of it goes into a package. `trueline_model.detectors.patches` is what runs on a device.

Promises: channels are judged each for itself, in scales, and the score of a row is the mean over the channels of the
mean square by which the window that ends there differs from its nearest; NaN where no window is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.scale import fit_scale
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.series import Series

__all__ = ["discord"]

_CLIP: Final = 10.0


def discord(normal: Series, series: Series, rows: int, *, level: bool = True) -> NDArray[np.float64]:
    """Scores of a recording, (n,).

    Args:
        normal: normal running of the same channels.
        series: what is judged.
        rows: of a window, three at least.
        level: whether levels count, or only shapes (each window less its mean, over its standard deviation).

    Raises:
        ConfigError: stumpy is missing, or a recording is shorter than a window.
    """
    if min(len(normal), len(series)) < rows:
        raise ConfigError(
            f"windows of {rows} rows, and recordings of {len(normal)} and {len(series)}: give longer ones"
        )
    try:
        import stumpy  # noqa: PLC0415 - brings a compiler
    except ModuleNotFoundError as error:
        raise ConfigError('a matrix profile wants stumpy: pip install "trueline[discord]"') from error
    scale = fit_scale([normal], clip=_CLIP)
    known, asked = (np.where(each.valid, scale(each.value, each.valid), np.nan) for each in (normal, series))
    square = np.full((len(series), len(scale.centre)), np.nan)
    for j in range(square.shape[1]):
        profile = stumpy.stump(asked[:, j], rows, T_B=known[:, j], ignore_trivial=False, normalize=level is False)
        distance = profile[:, 0].astype(np.float64)
        square[rows - 1 :, j] = np.where(np.isfinite(distance), distance, np.nan) ** 2 / rows
    said = np.isfinite(square)
    total = np.where(said, square, 0.0).sum(axis=1)
    return np.where(said.any(axis=1), total / np.maximum(said.sum(axis=1), 1), np.nan)

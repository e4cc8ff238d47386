"""A 1-D CNN that embeds a window, so that normal windows lie near one another: scored by the distance to the nearest.

After J. Park and S. Kang, "PaAno: Patch-based representation learning for time-series anomaly detection", 2026: four
convolutions and a mean over time. Theirs has 0.3 million weights; here two strides and narrow layers make it fit the
budget. Left out are their pretext task (its weight is 0 after a tenth of the training) and the scaling of each window
by itself: a level that was never there is what most faults are. What normal windows look like is kept beside the
network (`trueline_model.detectors.bank`): a change of the process needs new windows there, and no new training.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]

_WIDTHS: Final = (16, 24, 32)


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % 4:
        raise ConfigError(f"embedding-patch halves its window twice: {rows} rows are no multiple of 4")
    layers = keras.layers
    window = keras.Input((rows, 1, channels))
    x = layers.Conv2D(_WIDTHS[0], (5, 1), strides=(2, 1), padding="same", activation="relu6")(window)
    x = layers.Conv2D(_WIDTHS[1], (3, 1), strides=(2, 1), padding="same", activation="relu6")(x)
    x = layers.Conv2D(_WIDTHS[2], (3, 1), padding="same", activation="relu6")(x)
    x = layers.Conv2D(_WIDTHS[2], (3, 1), padding="same", activation="relu6")(x)
    return keras.Model(window, layers.AveragePooling2D((rows // 4, 1))(x))

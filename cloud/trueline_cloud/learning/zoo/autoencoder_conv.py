"""A 1-D convolutional autoencoder: two strided convolutions down to a quarter of the rows, two back up.

It learns shapes wherever in the window they are, so it needs few weights: 2 to 8 KB. After J. Masci et al., "Stacked
convolutional auto-encoders for hierarchical feature extraction", 2011, in one dimension. The bottleneck holds a quarter
of the numbers that go in, or less, so that copying the input is no solution.
"""

from __future__ import annotations

from typing import Any

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % 4:
        raise ConfigError(f"autoencoder-conv halves its window twice: {rows} rows are no multiple of 4")
    layers = keras.layers
    wide, narrow = min(16, 8 + channels), min(16, channels)
    window = keras.Input((rows, 1, channels))
    x = layers.Conv2D(wide, (5, 1), strides=(2, 1), padding="same", activation="relu6")(window)
    x = layers.Conv2D(narrow, (5, 1), strides=(2, 1), padding="same", activation="relu6")(x)
    x = layers.Conv2DTranspose(wide, (4, 1), strides=(2, 1), padding="same", activation="relu6")(x)
    return keras.Model(window, layers.Conv2DTranspose(channels, (4, 1), strides=(2, 1), padding="same")(x))

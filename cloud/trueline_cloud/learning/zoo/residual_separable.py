"""A depthwise-separable residual CNN that fills in what is hidden: the MobileNet idea in one dimension.

A convolution over time per channel, then one across channels, added to what came in: a third of the operations of a
plain convolution (A. Howard et al., "MobileNets", 2017; K. He et al., "Deep residual learning", 2016). A strided
convolution before and a transposed one after keep the blocks on a quarter of the rows; the bottleneck is narrow.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]

_BLOCKS: Final = 2


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % 4:
        raise ConfigError(f"residual-separable takes its window four rows at a time: {rows} rows are no multiple of 4")
    layers = keras.layers
    wide, narrow = min(24, 8 + channels), min(16, channels)
    window = keras.Input((rows, 1, channels))
    x = layers.Conv2D(wide, (4, 1), strides=(4, 1), activation="relu6")(window)
    for _ in range(_BLOCKS):
        y = layers.DepthwiseConv2D((3, 1), padding="same", activation="relu6")(x)
        x = layers.Add()([x, layers.Conv2D(wide, 1)(y)])
    x = layers.Conv2D(narrow, 1, activation="relu6")(x)
    x = layers.Conv2D(wide, 1, activation="relu6")(x)
    for _ in range(_BLOCKS):
        y = layers.DepthwiseConv2D((3, 1), padding="same", activation="relu6")(x)
        x = layers.Add()([x, layers.Conv2D(wide, 1)(y)])
    return keras.Model(window, layers.Conv2DTranspose(channels, (4, 1), strides=(4, 1))(x))

"""A temporal convolutional network that forecasts the next row: dilated convolutions that see twice as far each.

After S. Bai, J. Kolter and V. Koltun, "An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling", 2018. Only what the last row needs is computed, so no padding, and nothing after the window is seen.
It says by how much the next row differs from the last one.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras

__all__ = ["build"]

_KERNEL: Final = 3


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` and `channels`."""
    layers = keras.layers
    wide = min(16, 8 + channels)
    window = keras.Input((rows, 1, channels))
    x, left, dilation = window, rows, 1
    while left > (_KERNEL - 1) * dilation:
        x = layers.Conv2D(wide, (_KERNEL, 1), dilation_rate=(dilation, 1), activation="relu6")(x)
        left -= (_KERNEL - 1) * dilation
        dilation *= 2
    change = layers.Conv2D(channels, (left, 1))(x)
    last = layers.Cropping2D(((rows - 1, 0), (0, 0)))(window)
    return keras.Model(window, layers.Add()([last, change]))

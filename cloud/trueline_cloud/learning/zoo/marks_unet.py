"""A 1-D U-Net that marks each sample: the log-odds that a cell is anomalous.

After O. Ronneberger, P. Fischer and T. Brox, "U-Net", 2015, over time as T. Wen and R. Keyes, "Time series anomaly
detection using convolutional neural networks and transfer learning", 2019: what goes down by halves comes up again, and
at each height the way down is laid beside the way up, so a mark sits on its row. It learns from trouble put into normal
windows (`trouble`): it knows the kinds of trouble it was shown, and a ranking by trouble of the same kinds flatters it.
"""

from __future__ import annotations

from typing import Any

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % 4:
        raise ConfigError(f"marks-unet halves its window twice: {rows} rows are no multiple of 4")
    layers = keras.layers
    wide = min(24, 8 + channels)
    window = keras.Input((rows, 1, channels))
    whole = layers.Conv2D(wide, (3, 1), padding="same", activation="relu6")(window)
    half = layers.Conv2D(wide, (4, 1), strides=(2, 1), padding="same", activation="relu6")(whole)
    x = layers.Conv2D(wide, (4, 1), strides=(2, 1), padding="same", activation="relu6")(half)
    x = layers.Conv2D(wide, (3, 1), padding="same", activation="relu6")(x)
    x = layers.Conv2DTranspose(wide, (2, 1), strides=(2, 1), activation="relu6")(x)
    x = layers.Conv2D(wide, (3, 1), padding="same", activation="relu6")(layers.Concatenate()([x, half]))
    x = layers.Conv2DTranspose(wide, (2, 1), strides=(2, 1), activation="relu6")(x)
    return keras.Model(window, layers.Conv2D(channels, (3, 1), padding="same")(layers.Concatenate()([x, whole])))

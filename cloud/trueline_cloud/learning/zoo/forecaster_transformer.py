"""A small Transformer that forecasts the next row: one block of attention over patches of four rows.

After A. Vaswani et al., "Attention is all you need", 2017, with patches as Y. Nie et al., "A time series is worth 64
words", 2023. One head, and no layer normalisation: its reciprocal square root is what int8 does worst, and one block
trains without. Where in the window a patch lies is known to the last layer alone, which has weights for each place.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]

_PATCH: Final = 4
_WIDTH: Final = 16


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % _PATCH:
        raise ConfigError(f"forecaster-transformer takes {_PATCH} rows a patch: {rows} rows are no multiple of that")
    layers, ops = keras.layers, keras.ops
    patches = rows // _PATCH
    window = keras.Input((rows, 1, channels))
    x = layers.Conv2D(_WIDTH, (_PATCH, 1), strides=(_PATCH, 1))(window)
    query, key, value = (ops.squeeze(layers.Conv2D(_WIDTH, 1)(x), 2) for _ in range(3))
    attention = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) * _WIDTH**-0.5)
    x = layers.Add()([x, layers.Conv2D(_WIDTH, 1)(ops.expand_dims(ops.matmul(attention, value), 2))])
    y = layers.Conv2D(2 * _WIDTH, 1, activation="relu6")(x)
    x = layers.Add()([x, layers.Conv2D(_WIDTH, 1)(y)])
    change = layers.Conv2D(channels, (patches, 1))(x)
    last = layers.Cropping2D(((rows - 1, 0), (0, 0)))(window)
    return keras.Model(window, layers.Add()([last, change]))

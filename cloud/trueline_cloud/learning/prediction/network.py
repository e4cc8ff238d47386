"""The network that predicts: means over five steps, then dense layers, then the target's mean between two quantiles.

What wears or dries shows in levels and slopes, and rows are noisy: means first leave levels and slopes and little else.
On C-MAPSS FD001, units held back, that had an RMSE of 15.4 where convolutions over the rows (X. Li, Q. Ding and
J.-Q. Sun, "Remaining useful life estimation in prognostics using deep convolution neural networks", 2018, made small)
had 16.9. It keeps what the networks of the zoo keep: operations LiteRT has in int8, activations that end.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras
from trueline_model.prediction import ANSWER

__all__ = ["build"]

_STEPS: Final = 5
_WIDE: Final = 32


def build(rows: int, features: int) -> Any:
    """The network for windows of `rows` steps and so many features: (rows, 1, features) -> (3,)."""
    layers = keras.layers
    window = keras.Input((rows, 1, features))
    size = min(_STEPS, rows)
    newest = layers.Cropping2D(((rows % size, 0), (0, 0)))(window) if rows % size else window
    x = layers.Flatten()(layers.AveragePooling2D((size, 1))(newest))
    for _ in range(2):
        x = layers.Dense(_WIDE, activation="relu6")(x)
    return keras.Model(window, layers.Dense(ANSWER)(x))

"""The dense autoencoder of MLPerf Tiny: four layers of 128, 8 numbers, four layers of 128.

After C. Banbury et al., "MLPerf Tiny Benchmark", 2021, as its reference for anomaly detection has it (batch
normalisation and relu), here over rows * channels cells where that has 640 of sound, and with relu6 for relu. Over
100,000 weights: beyond the default budget, so `auto` takes it only where more is given. It stands here to be compared.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras

__all__ = ["build"]

_WIDE: Final = 128
_LATENT: Final = 8


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` and `channels`."""
    layers = keras.layers
    cells = rows * channels
    window = keras.Input((cells,))
    x = window
    for width in (*(4 * [_WIDE]), _LATENT, *(4 * [_WIDE])):
        x = layers.Dense(width, use_bias=False)(x)
        x = layers.Activation("relu6")(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(window, layers.Dense(cells)(x))

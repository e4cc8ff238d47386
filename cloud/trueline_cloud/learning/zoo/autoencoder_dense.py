"""A dense autoencoder: all numbers of a window down to 8, and back.

The shape of MLPerf Tiny's anomaly detection reference (C. Banbury et al., "MLPerf Tiny Benchmark", 2021: four layers
of 128, 8, four of 128) with one layer on each side, as wide as some 20,000 weights allow. The reference itself has
270,000: over four times what the default budget on the device holds.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras

__all__ = ["build"]

_WEIGHTS_A_SIDE: Final = 20_000
_LATENT: Final = 8


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` and `channels`."""
    layers = keras.layers
    cells = rows * channels
    wide = max(_LATENT, min(64, _WEIGHTS_A_SIDE // cells))
    window = keras.Input((cells,))
    x = layers.Dense(wide, activation="relu6")(window)
    x = layers.Dense(min(_LATENT, max(1, cells // 4)), activation="relu6")(x)
    x = layers.Dense(wide, activation="relu6")(x)
    return keras.Model(window, layers.Dense(cells)(x))

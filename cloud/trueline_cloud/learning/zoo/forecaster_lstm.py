"""A long short-term memory that forecasts the next row, its steps written out, each of four rows.

After S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, with the forget gate of F. Gers et al., 2000,
open at the start. Written out for the reasons of `forecaster_gru`; four rows a step (a convolution makes them one, as
patches do) so that eight steps see 32 rows. The cell's memory may grow with each step, and int8 ends it where training
ended. It keeps no state between windows: scores must not depend on what came before them.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras
from trueline_wire.errors import ConfigError

__all__ = ["build"]

_UNITS: Final = 16
_PATCH: Final = 4


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` (a multiple of 4) and `channels`."""
    if rows % _PATCH:
        raise ConfigError(f"forecaster-lstm takes {_PATCH} rows a step: {rows} rows are no multiple of that")
    layers, ops = keras.layers, keras.ops
    steps = rows // _PATCH
    window = keras.Input((rows, 1, channels))
    remember = keras.initializers.Constant([0.0] * _UNITS + [1.0] * _UNITS + [0.0] * 2 * _UNITS)
    driven = layers.Conv2D(4 * _UNITS, (_PATCH, 1), strides=(_PATCH, 1), bias_initializer=remember)(window)
    fed_back = layers.Conv2D(4 * _UNITS, 1, use_bias=False)
    memory = state = None
    for step in range(steps):
        gates = layers.Cropping2D(((step, steps - 1 - step), (0, 0)))(driven)
        if state is not None:
            gates = layers.Add()([gates, fed_back(state)])
        take, keep, show, new = (gates[..., part * _UNITS : (part + 1) * _UNITS] for part in range(4))
        taken = ops.sigmoid(take) * ops.tanh(new)
        memory = taken if memory is None else ops.sigmoid(keep) * memory + taken
        state = ops.sigmoid(show) * ops.tanh(memory)
    change = layers.Conv2D(channels, 1)(state)
    last = layers.Cropping2D(((rows - 1, 0), (0, 0)))(window)
    return keras.Model(window, layers.Add()([last, change]))

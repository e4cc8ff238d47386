"""A gated recurrent unit that forecasts the next row, its steps written out.

After K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014. Written out because Keras' own
layer leaves float32 in the int8 file (its start state), and LiteRT's fused recurrent layer ends the converter
(TensorFlow 2.21). Each step costs some 5 KB of file and 2 us, whatever its width: so windows are short. It keeps no
state between windows: scores must not depend on what came before them.
"""

from __future__ import annotations

from typing import Any, Final

from trueline_cloud.learning.backend import keras

__all__ = ["build"]

_UNITS: Final = 16


def build(rows: int, channels: int) -> Any:
    """The network for windows of `rows` and `channels`."""
    layers, ops = keras.layers, keras.ops
    window = keras.Input((rows, 1, channels))
    driven = layers.Conv2D(3 * _UNITS, 1)(window)
    gates, candidate = layers.Conv2D(2 * _UNITS, 1, use_bias=False), layers.Conv2D(_UNITS, 1, use_bias=False)
    state = None
    for row in range(rows):
        now = layers.Cropping2D(((row, rows - 1 - row), (0, 0)))(driven)
        update, reset, new = (now[..., part * _UNITS : (part + 1) * _UNITS] for part in range(3))
        if state is None:
            state = ops.sigmoid(update) * ops.tanh(new)
            continue
        fed = gates(state)
        update = ops.sigmoid(update + fed[..., :_UNITS])
        reset = ops.sigmoid(reset + fed[..., _UNITS:])
        new = ops.tanh(new + candidate(reset * state))
        state = state + update * (new - state)
    change = layers.Conv2D(channels, 1)(state)
    last = layers.Cropping2D(((rows - 1, 0), (0, 0)))(window)
    return keras.Model(window, layers.Add()([last, change]))

"""The networks there are, one readable file each.

What all of them keep, so that the agent runs any of them with one adapter, and `tests/cloud/test_zoo.py` checks:

* input (rows, 1, channels) float32 in scales, 0 where nothing valid was measured; the dense ones (rows * channels,);
* output as `output` says: a "reconstruction" of the input's shape, a "forecast" (1, 1, channels) or (channels,) of the
  row after it, log-odds of each cell as "marks" of the input's shape, or an "embedding" of any number;
* only operations LiteRT has in int8. Convolutions over time are written as `Conv2D` of width 1: `Conv1D` wraps each in
  two reshapes, which is slower (measured: 3.5 against 2.0 us for four convolutions) and nails the batch size down. The
  autoencoders so take many windows at once; the forecasters, from which the converter makes reshapes, one by one;
* activations that end (relu6, sigmoid, tanh) wherever the network is narrow: int8 ends every activation somewhere, and
  a float network that knows no end answers anomalies otherwise than the int8 one (seen: average precision 0.65 in float
  and 0.74 in int8 with relu, 0.87 in both with relu6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from trueline_cloud.learning.zoo import (
    autoencoder_conv,
    autoencoder_dense,
    autoencoder_mlperf,
    embedding_patch,
    forecaster_gru,
    forecaster_lstm,
    forecaster_tcn,
    forecaster_transformer,
    marks_unet,
    residual_separable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RANKED", "ZOO", "Architecture"]


class Architecture(NamedTuple):
    """A network before its size is known.

    Attributes:
        build: (rows, channels) -> an untrained Keras model; raises ConfigError where it cannot be so small or large.
        output: what comes out, as `trueline_model.detectors.network.Network` knows it.
        rows: of a window, where nobody says otherwise.
    """

    build: Callable[[int, int], Any]
    output: Literal["reconstruction", "forecast", "marks", "embedding"]
    rows: int


ZOO: Final = {
    "autoencoder-conv": Architecture(autoencoder_conv.build, "reconstruction", 32),
    "autoencoder-dense": Architecture(autoencoder_dense.build, "reconstruction", 16),
    "residual-separable": Architecture(residual_separable.build, "reconstruction", 32),
    "forecaster-tcn": Architecture(forecaster_tcn.build, "forecast", 32),
    "forecaster-gru": Architecture(forecaster_gru.build, "forecast", 8),
    "forecaster-transformer": Architecture(forecaster_transformer.build, "forecast", 32),
    "embedding-patch": Architecture(embedding_patch.build, "embedding", 32),
    "forecaster-lstm": Architecture(forecaster_lstm.build, "forecast", 32),
    "autoencoder-mlperf": Architecture(autoencoder_mlperf.build, "reconstruction", 16),
    "marks-unet": Architecture(marks_unet.build, "marks", 32),
}
"""By name, as the command line says it."""

RANKED: Final = tuple(name for name, architecture in ZOO.items() if architecture.output != "marks")
"""Those that trouble put into recordings may rank: what marks has learnt from trouble, and would win by its book."""

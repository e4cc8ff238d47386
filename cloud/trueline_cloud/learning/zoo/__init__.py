"""The networks there are, one readable file each.

What all of them keep, so that the agent runs any of them with one adapter, and `tests/cloud/test_zoo.py` checks:

* input (rows, 1, channels) float32 in scales, 0 where nothing valid was measured; the dense ones (rows * channels,);
* output as `output` says: a "reconstruction" of the input's shape, a "forecast" (1, 1, channels) or (channels,) of the
  row after it, or a "score" (1,);
* only operations LiteRT has in int8, of which none holds the batch size: one window or a hundred go through one graph.
  So convolutions over time are written as `Conv2D` of width 1: `Conv1D` wraps each in two reshapes, which is slower and
  nails the batch size down (measured: 3.5 against 2.0 us a window for four convolutions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from trueline_cloud.learning.zoo import autoencoder_conv, autoencoder_dense

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ZOO", "Architecture"]


class Architecture(NamedTuple):
    """A network before its size is known.

    Attributes:
        build: (rows, channels) -> an untrained Keras model; raises ConfigError where it cannot be so small or large.
        output: what comes out, as `trueline_model.detectors.network.Network` knows it.
        rows: of a window, where nobody says otherwise.
    """

    build: Callable[[int, int], Any]
    output: Literal["reconstruction", "forecast", "score"]
    rows: int


ZOO: Final = {
    "autoencoder-conv": Architecture(autoencoder_conv.build, "reconstruction", 32),
    "autoencoder-dense": Architecture(autoencoder_dense.build, "reconstruction", 16),
}
"""By name, as the command line says it."""

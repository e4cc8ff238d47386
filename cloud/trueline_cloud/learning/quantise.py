"""A Keras network as an int8 `.tflite`, and what that cost.

Promises: weights and activations are int8, and so are input and output (post-training quantisation: B. Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018); where an
operation has no int8 form the conversion is refused. Refuses to know windows; `lite` runs what comes out.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_cloud.learning.backend import keras, tf
from trueline_cloud.learning.lite import quiet
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["operations", "to_int8"]

_REPRESENTATIVE_MAX: Final = 512


def to_int8(model: Any, representative: NDArray[np.float32], seed: int = 0) -> bytes:
    """The network with int8 weights, activations, input and output.

    Args:
        model: with channels last and any batch.
        representative: (m, rows, k) windows of the training part; 512 of them set the ranges of the activations.
        seed: of the choice.

    Raises:
        ConfigError: an operation has no int8 form.
    """
    random = np.random.default_rng(seed)
    flat = representative.reshape(len(representative), -1)
    extremes = [flat.max(axis=1).argmax(), flat.min(axis=1).argmin()]  # the input's range is that of all windows
    chosen = np.append(random.permutation(len(representative))[: _REPRESENTATIVE_MAX - 2], extremes)

    def some() -> Iterator[list[NDArray[np.float32]]]:
        for window in representative[chosen]:
            yield [window.reshape(1, *model.input_shape[1:])]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = some
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return _converted(converter)


def _converter(model: Any) -> Any:
    window = keras.Input(model.input_shape[1:], batch_size=1)  # a free batch makes LiteRT ask shapes: twice as slow
    return tf.lite.TFLiteConverter.from_keras_model(keras.Model(window, model(window)))


def _converted(converter: Any) -> bytes:
    """The converter's result; it prints much, to Python's output and to the process's."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet():
        warnings.simplefilter("ignore")
        try:
            return bytes(converter.convert())
        except (RuntimeError, ValueError) as error:  # how a converter says that an operation has no int8 form
            raise ConfigError(f"the network cannot become a .tflite: {str(error)[:500]}") from error


def operations(model: Any) -> int:
    """Multiply-accumulates a window: the weights of each layer, times how often each is used."""
    total = 0
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel = max(int(np.prod(weight.shape)) for weight in layer.weights)
        positions = layer.output.shape[1:-1]
        if isinstance(layer, keras.layers.Conv2DTranspose):
            positions = layer.input.shape[1:-1]
        total += kernel * int(np.prod(positions))
    return total

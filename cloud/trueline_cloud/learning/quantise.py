"""A Keras network as an int8 `.tflite`, and what that cost.

Promises: weights and activations are int8, and so are input and output (post-training quantisation: B. Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018); where an
operation has no int8 form the conversion is refused. `Int8` answers as the agent's adapter does. Refuses to know where
windows come from.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_cloud.learning.backend import keras, quiet, tf
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Int8", "operations", "to_int8"]

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


class Int8:
    """A `.tflite` that answers windows: `trueline_model.detectors.network.Model`.

    A batch goes through at once where the network allows it; the answers are the same bits as one by one.

    Args:
        tflite: from `to_int8`.
        answer: shape of an answer, without the batch.
    """

    def __init__(self, tflite: bytes, answer: tuple[int, ...]) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only who measures wants it

        with quiet():
            self._interpreter = Interpreter(model_content=tflite, num_threads=1)
            self._interpreter.allocate_tensors()
        self._batch, self._answer = 1, answer

    def __call__(self, value: NDArray[np.float32]) -> NDArray[np.float32]:
        """(m, rows, k) in scales; the network's answers, (m, *answer)."""
        try:
            into = self._resized(len(value))
        except RuntimeError:  # its shapes are fixed
            self._resized(1)
            return np.concatenate([self(window[None]) for window in value])
        asked = _to(value.reshape(len(value), *into["shape"][1:]), into)
        self._interpreter.set_tensor(into["index"], asked)
        self._interpreter.invoke()
        out = self._interpreter.get_output_details()[0]
        return _from(self._interpreter.get_tensor(out["index"]), out).reshape(len(value), *self._answer)

    @property
    def dtypes(self) -> set[str]:
        """Types of all numbers in the network."""
        return {np.dtype(each["dtype"]).name for each in self._interpreter.get_tensor_details()}

    def latency_us(self, repeats: int = 2000) -> float:
        """Of a bare invoke of one window, microseconds: the best of five rounds, since others only add."""
        self._resized(1)
        rounds = []
        for _ in range(5):
            begun = time.perf_counter()
            for _ in range(repeats // 5):
                self._interpreter.invoke()
            rounds.append((time.perf_counter() - begun) / (repeats // 5))
        return min(rounds) * 1e6

    def _resized(self, batch: int) -> dict[str, Any]:
        into: dict[str, Any] = self._interpreter.get_input_details()[0]
        if batch != self._batch:
            self._batch = batch
            self._interpreter.resize_tensor_input(into["index"], [batch, *into["shape"][1:].tolist()])
            self._interpreter.allocate_tensors()
            into = self._interpreter.get_input_details()[0]
        return into


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


def _to(value: NDArray[np.float32], details: dict[str, Any]) -> NDArray[Any]:
    scale, zero = details["quantization"]
    if not scale:
        return value
    limits = np.iinfo(details["dtype"])
    steps = np.rint(value * (np.float32(1.0) / np.float32(scale))) + np.float32(zero)
    quantised: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(details["dtype"])
    return quantised


def _from(value: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = details["quantization"]
    return (value.astype(np.float32) - np.float32(zero)) * np.float32(scale) if scale else value

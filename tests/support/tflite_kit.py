"""Small `.tflite` networks written by hand, so that tests of the agent need no TensorFlow.

A dense network, float or full int8, out of the schema's own object interface, which LiteRT brings with it. It is a
real file that LiteRT's own verifier accepts, and its arithmetic is a few lines of NumPy, which is its oracle.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["STEP", "Layer", "dense_network", "identity_network", "layers_of", "textbook"]

STEP = 0.05
"""What one step of an int8 activation is worth here."""


class Layer(NamedTuple):
    """y = relu(weight x + bias); the last layer without relu."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


def layers_of(widths: Sequence[int], seed: int = 1) -> list[Layer]:
    """Layers from each width to the next."""
    rng = np.random.default_rng(seed)
    return [
        Layer(rng.normal(size=(out, into)) / math.sqrt(into), rng.normal(size=out) * 0.1)
        for into, out in pairwise(widths)
    ]


def textbook(layers: Sequence[Layer], flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, n) what the network says in real numbers."""
    for position, layer in enumerate(layers):
        flat = flat @ layer.weight.T + layer.bias
        if position < len(layers) - 1:
            flat = np.maximum(flat, 0.0)
    return flat


def dense_network(
    layers: Sequence[Layer],
    window: tuple[int, ...],
    answer: tuple[int, ...],
    *,
    int8: bool = True,
    relu: bool = True,
    fixed: bool = False,
    step: float = STEP,
    inputs: int = 1,
    batch: int = 1,
) -> bytes:
    """The file of a dense network around a flattened window.

    Args:
        layers: from prod(window) to prod(answer).
        window: shape of the input behind the batch's dimension.
        answer: of the output.
        int8: weights and activations; else float32.
        relu: between layers.
        fixed: for a batch of one only: the flattening names it.
        step: of the activations; a poison where it is NaN.
        batch: windows the file says it takes at once.
        inputs: how many the file says it has; the first is used.
    """
    file = _File(int8=int8, fixed=fixed, step=step, batch=batch)
    first = file.activation("window", window)
    here = file.reshape(first, (math.prod(window),))
    for position, layer in enumerate(layers):
        here = file.dense(here, layer, relu=relu and position < len(layers) - 1)
    last = file.reshape(here, answer)
    return file.finish([first, *(file.activation(f"more {n}", window) for n in range(inputs - 1))], [last])


def identity_network(window: tuple[int, ...], **options: Any) -> bytes:
    """Reconstructs its window, but for quantisation."""
    n = math.prod(window)
    return dense_network([Layer(np.eye(n), np.zeros(n))], window, window, **options)


class _File:
    def __init__(self, *, int8: bool, fixed: bool, step: float, batch: int) -> None:
        self._many = batch
        self._int8, self._batch, self._step = int8, 1 if fixed else -1, step
        self._type = schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = [
            _code(schema.BuiltinOperator.FULLY_CONNECTED, 4 if int8 else 1),
            _code(schema.BuiltinOperator.RESHAPE, 1),
        ]
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def activation(self, name: str, shape: tuple[int, ...]) -> int:
        tensor = self._tensor(name, (self._many, *shape), self._type, scale=self._step if self._int8 else None)
        self._graph.tensors[tensor].shapeSignature = [self._batch, *shape]
        return tensor

    def reshape(self, source: int, shape: tuple[int, ...]) -> int:
        wanted = self._constant("shape", np.array([self._batch, *shape], np.int32), schema.TensorType.INT32)
        out = self.activation("reshaped", shape)
        options = schema.ReshapeOptionsT()
        options.newShape = [self._batch, *shape]
        self._operator(1, [source, wanted], out, schema.BuiltinOptions.ReshapeOptions, options)
        return out

    def dense(self, source: int, layer: Layer, *, relu: bool) -> int:
        if self._int8:
            scale = float(np.abs(layer.weight).max() / 127.0)
            rounded = np.rint(layer.weight / scale).astype(np.int8)
            weight = self._constant("weight", rounded, schema.TensorType.INT8, scale)
            bias_scale = scale * STEP
            bias = self._constant(
                "bias", np.rint(layer.bias / bias_scale).astype(np.int32), schema.TensorType.INT32, bias_scale
            )
        else:
            weight = self._constant("weight", layer.weight.astype(np.float32), schema.TensorType.FLOAT32)
            bias = self._constant("bias", layer.bias.astype(np.float32), schema.TensorType.FLOAT32)
        out = self.activation("dense", layer.bias.shape)
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = (
            schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
        )
        self._operator(0, [source, weight, bias], out, schema.BuiltinOptions.FullyConnectedOptions, options)
        return out

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        self._graph.inputs, self._graph.outputs = inputs, outputs
        self._model.subgraphs = [self._graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(
        self, name: str, shape: tuple[int, ...], type_: int, buffer: int = 0, scale: float | None = None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), type_, buffer
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, name: str, array: NDArray[Any], type_: int, scale: float | None = None) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(name, array.shape, type_, len(self._model.buffers) - 1, scale)

    def _operator(self, code: int, inputs: list[int], output: int, kind: int, options: Any) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self._graph.operators.append(operator)


def _code(operator: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = version
    return code

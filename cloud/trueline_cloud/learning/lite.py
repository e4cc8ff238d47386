"""A `.tflite` run where models are made, as the agent's adapter runs it on the device; TensorFlow is not wanted for it.

Promises: a window's answer is the same bits alone and among others.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Int8", "quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what C++ writes to the standard outputs."""
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, file in zip((1, 2), kept, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.close(nowhere)


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

"""The one place that knows LiteRT: a `.tflite` file as a callable, windows in, answers out.

Promises: an answer depends on its own window alone, bit for bit, however many come at once: windows go through one by
one, and many at once only where every number in the network is an integer. Refuses to judge what a network says.

`Interpreter`, not `CompiledModel`: the latter crashes the process on half of truncated files (LiteRT 2.3.0). A file
that passes the former's checks may still do anything: it is tried in a process of its own first (`trial`). Where
LiteRT is not, its predecessor `tflite_runtime` does the same work.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["LITERT_MISSING", "LiteRt", "interpreter_class", "runtime_version"]

LITERT_MISSING: Final = 'LiteRT is not installed: pip install "trueline[infer]"'

_BLOCK: Final = 64
"""Windows that go through an integer network at once."""

_FILLED_MIN: Final = 8
"""From so many windows on a block that is not full is less work than as many calls of their own."""

_INTEGERS: Final = {np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)}


def runtime_version() -> str:
    """Of LiteRT here, or of its predecessor and which it is; "" where neither is installed."""
    import importlib.metadata  # noqa: PLC0415 - costs two megabytes, and is asked once

    for distribution, told in (("ai-edge-litert", ""), ("tflite-runtime", "tflite-runtime ")):
        with suppress(importlib.metadata.PackageNotFoundError):
            return told + importlib.metadata.version(distribution)
    return ""


class LiteRt:
    """A network.

    Args:
        network: the bytes of a `.tflite` file.
        window: shape of a window, the batch's dimension left out; the network's input has as many numbers.
        answer: shape of an answer, likewise.

    Raises:
        NeverRetry: it is no network, or one of other shapes or types.
        ConfigError: LiteRT is not installed.
    """

    def __init__(self, network: bytes, window: tuple[int, ...], answer: tuple[int, ...]) -> None:
        self._network = network
        self._window, self._answer = window, answer
        self._one = _interpreter(network)
        try:
            with _quiet():
                self._one.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise NeverRetry(f"the network cannot be set up: {_first_line(error)}") from error
        self._in, self._out = _tensor(self._one, "input", window), _tensor(self._one, "output", answer)
        self._block = self._make_block() if self._is_integer() else None

    def __call__(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answers.

        Args:
            windows: (m, *window) float32, in the numbers it was trained on; or cut from what `prepared` made of rows.

        Returns:
            (m, *answer) float32.
        """
        given = self.prepared(windows).reshape(-1, *self._in.shape[1:])
        m = len(given)
        answers = np.empty((m, *self._out.shape[1:]), self._out.dtype)
        start = 0
        if self._block is not None:
            for start in range(0, m - m % _BLOCK, _BLOCK):
                answers[start : start + _BLOCK] = _run(self._block, self._in, self._out, given[start : start + _BLOCK])
            start = m - m % _BLOCK
            if m - start >= _FILLED_MIN:  # answers depend on their own window alone: what fills the block is any
                filled = np.zeros((_BLOCK, *given.shape[1:]), given.dtype)
                filled[: m - start] = given[start:]
                answers[start:] = _run(self._block, self._in, self._out, filled)[: m - start]
                start = m
        for row in range(start, m):
            answers[row] = _run(self._one, self._in, self._out, given[row : row + 1])[0]
        return self._out.dequantised(answers).reshape(m, *self._answer)

    def prepared(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Numbers as the network takes them, each for itself: rows, before windows repeat them; once is enough."""
        return numbers if numbers.dtype == self._in.dtype else self._in.quantised(numbers)

    @property
    def batched(self) -> bool:
        """Do many windows go through at once? Only where all numbers are integers and the network allows it."""
        return self._block is not None

    def _is_integer(self) -> bool:
        return all(np.dtype(detail["dtype"]) in _INTEGERS for detail in self._one.get_tensor_details())

    def _make_block(self) -> Any:
        """The network again for a block of windows; None where its shapes are fixed."""
        block = _interpreter(self._network)
        try:
            block.resize_tensor_input(self._in.index, (_BLOCK, *self._in.shape[1:]))
            block.allocate_tensors()
            block.invoke()
            fits = block.get_tensor(self._out.index).shape == (_BLOCK, *self._out.shape[1:])
        except (RuntimeError, ValueError):
            return None
        return block if fits else None


class _Tensor:
    """Input or output of a network: where it is, its shape with a batch of one, and how its numbers are quantised."""

    def __init__(self, details: dict[str, Any]) -> None:
        self.index = int(details["index"])
        self.shape = tuple(int(size) for size in details["shape"])
        self.dtype = np.dtype(details["dtype"])
        self._scale, self._zero = (np.float32(details["quantization"][0]), float(details["quantization"][1]))

    def quantised(self, numbers: NDArray[np.float32]) -> NDArray[Any]:
        """Real numbers as the tensor holds them (round half to even, saturating)."""
        if self.dtype == np.float32:
            return np.ascontiguousarray(numbers, np.float32)
        limits = np.iinfo(self.dtype)
        steps = np.rint(numbers * (np.float32(1.0) / self._scale))
        steps += np.float32(self._zero)
        whole: NDArray[Any] = np.clip(steps, limits.min, limits.max, out=steps).astype(self.dtype)
        return whole

    def dequantised(self, steps: NDArray[Any]) -> NDArray[np.float32]:
        """Real numbers out of what the tensor holds."""
        numbers: NDArray[np.float32] = steps.astype(np.float32)
        if self.dtype == np.float32:
            return numbers
        numbers -= np.float32(self._zero)
        numbers *= self._scale
        return numbers

    def check(self, what: str, shape: tuple[int, ...]) -> None:
        if self.shape[:1] != (1,) or math.prod(self.shape) != math.prod(shape):
            raise NeverRetry(
                f"the network's {what} has shape {list(self.shape)}: [1, {str(list(shape))[1:-1]}] is wanted"
            )
        if self.dtype not in {np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.float32)}:
            raise NeverRetry(f"the network's {what} is {self.dtype}: int8, uint8 or float32 is wanted")
        if self.dtype != np.float32 and not 0.0 < self._scale < math.inf:
            raise NeverRetry(
                f"the network's {what} is {self.dtype} with a scale of {self._scale}: a step above 0 is wanted"
            )


def _interpreter(network: bytes) -> Any:
    try:
        return interpreter_class()(model_content=network, num_threads=1)
    except (RuntimeError, ValueError) as error:
        raise NeverRetry(f"LiteRT does not take the network: {_first_line(error)}") from error


def interpreter_class() -> Any:
    """LiteRT's, or that of its predecessor `tflite_runtime`, which has wheels for 32-bit ARM and wants NumPy below 2.

    Raises:
        ConfigError: neither is installed.
    """
    with suppress(ImportError):
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - 12 MB, paid for where a network runs

        return Interpreter
    try:
        from tflite_runtime.interpreter import Interpreter as Predecessor  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ConfigError(LITERT_MISSING) from error
    return Predecessor


@contextmanager
def _quiet() -> Iterator[None]:
    """LiteRT greets on standard error, where the agent's log is JSON; what it has to say of a failure it raises."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _tensor(interpreter: Any, what: str, shape: tuple[int, ...]) -> _Tensor:
    details = interpreter.get_input_details() if what == "input" else interpreter.get_output_details()
    if len(details) != 1:
        raise NeverRetry(f"the network has {len(details)} {what}s: one is wanted")
    tensor = _Tensor(details[0])
    tensor.check(what, shape)
    return tensor


def _run(interpreter: Any, into: _Tensor, out: _Tensor, windows: NDArray[Any]) -> NDArray[Any]:
    interpreter.set_tensor(into.index, windows)
    interpreter.invoke()
    answer: NDArray[Any] = interpreter.get_tensor(out.index)
    return answer


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]

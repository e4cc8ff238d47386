"""A network made elsewhere, brought in: a `.tflite` as it is, an ONNX file through onnx2tf.

Promises: what comes out is a network one window goes into and a reconstruction, a forecast or a score comes out of, in
int8 where the converter has the operations for it, else in float; a file that is none of that is refused with what is
wanted. Refuses to train it: its weights stay; p-values and alarm are made here like any other's. Its scaling is what it
was trained with, where that is said, else mean and standard deviation of the training part.

onnx2tf (pinned to NumPy 1 and a TensorFlow of its own) lives in an environment of its own and is run as a program. It
takes dense and convolutional networks, in PyTorch's order of axes (channels before rows) or in ours. LSTM and GRU it
cannot turn around when the batch is fixed, nor anything with several inputs or free shapes: those are refused here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from trueline_cloud.learning.dataset import split, windowed
from trueline_cloud.learning.lite import Int8
from trueline_cloud.learning.made import Made
from trueline_model.detectors.network import Network, NetworkDetector
from trueline_model.scale import Scale, fit_scale
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from trueline_model.series import Series

__all__ = ["Brought", "bring", "make_brought"]

_CONVERTER_MISSING: Final = (
    "an ONNX file wants the program onnx2tf, which lives in an environment of its own: "
    "python3 -m venv onnx && onnx/bin/pip install onnx2tf, then --onnx2tf onnx/bin/onnx2tf"
)

_CONVERT_S: Final = 600.0
_RANGES_MAX: Final = 512
_AXES: Final = 3

_DESCRIBE: Final = """
import json, sys, onnx
graph = onnx.load(sys.argv[1]).graph
held = {one.name for one in graph.initializer}
given = [one for one in graph.input if one.name not in held]
print(json.dumps([[one.name, [d.dim_value for d in one.type.tensor_type.shape.dim]] for one in given]))
"""


class Brought(NamedTuple):
    """A network and how it is used.

    Attributes:
        recipe: windows in, scores out.
        tflite: its file.
    """

    recipe: Network
    tflite: bytes


def make_brought(
    series: Sequence[Series],
    file: Path,
    *,
    onnx2tf: Path | None = None,
    centre: Sequence[float] = (),
    scale: Sequence[float] = (),
) -> Made:
    """A network from a file as a model to be packed.

    Args:
        series: recordings of normal running.
        file: `.tflite` or `.onnx`.
        onnx2tf: see `bring`.
        centre: what it takes off each channel (k); left out with `scale`: means of the training part.
        scale: what it divides each channel by (k), in the channel's unit.

    Raises:
        ConfigError: see `bring`; centre or scale is not one number above 0 for each channel.
    """
    channels = series[0].channels
    if (centre or scale) and (not len(centre) == len(scale) == len(channels) or min(scale) <= 0.0):
        raise ConfigError(
            f"--centre and --scale want a number each for {', '.join(channels)}, and those of --scale are above 0"
        )

    def scaled(part: Sequence[Series]) -> Scale:
        return Scale(np.array(centre), np.array(scale)) if scale else fit_scale(part, method="standard")

    def windows(rows: int) -> NDArray[np.float32]:
        train = split(series, rows).train
        return windowed(train, scaled(train), rows, stride=max(1, sum(map(len, train)) // _RANGES_MAX)).value

    brought = bring(file, len(channels), windows, onnx2tf=onnx2tf)
    recipe = brought.recipe
    parts = split(series, recipe.windower.size)
    width = len(channels)
    detector = NetworkDetector(recipe, scaled(parts.train), Int8(brought.tflite, recipe.answer(width)))
    return Made(file.stem, detector, parts, brought=brought.tflite)


def bring(
    file: Path,
    channels: int,
    windows: Callable[[int], NDArray[np.float32]],
    *,
    onnx2tf: Path | None = None,
    judged: Literal["window", "last"] = "window",
) -> Brought:
    """Read a network.

    Args:
        file: `.tflite` or `.onnx`.
        channels: of the recordings (k).
        windows: for a number of rows, (m, rows, k) windows in scales of the training part: int8 ranges come from them.
        onnx2tf: the converter; looked for where programs are, if not given.
        judged: rows of a reconstruction that count.

    Raises:
        ConfigError: it is no network, one of other channels, or one that the converter cannot turn into a `.tflite`.
    """
    if file.suffix == ".onnx":
        tflite = _converted(file, channels, windows, onnx2tf)
    elif file.suffix == ".tflite":
        try:
            tflite = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    else:
        raise ConfigError(f"{file}: a network comes as .tflite or .onnx")
    given, said = _shapes(file, tflite)
    rows, left_over = divmod(int(np.prod(given)), channels)
    if left_over or (given[-1] != channels and rows != 1):
        raise ConfigError(
            f"{file} takes {list(given)}, and the recordings have {channels} channels: [1, rows, {channels}] is wanted"
        )
    outputs: dict[int, Literal["reconstruction", "forecast", "score"]]
    outputs = {1: "score", channels: "forecast", rows * channels: "reconstruction"}
    output = outputs.get(int(np.prod(said)))
    if output is None:
        raise ConfigError(
            f"{file} answers {list(said)}: as many numbers as its window ({rows * channels}) are a reconstruction, "
            f"{channels} a forecast of the next row, one a score"
        )
    return Brought(Network(rows=rows, output=output, judged=judged), tflite)


def _shapes(file: Path, tflite: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of input and output."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only who brings a network wants it

    try:
        interpreter = Interpreter(model_content=tflite, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{file} is no network LiteRT can run: {str(error)[:200]}") from error
    both = interpreter.get_input_details(), interpreter.get_output_details()
    for details, what in zip(both, ("input", "output"), strict=True):
        if len(details) != 1:
            raise ConfigError(f"{file} has {len(details)} {what}s, and one is wanted")
    given, said = (tuple(details[0]["shape"].tolist()) for details in both)
    return given, said


def _converted(file: Path, channels: int, windows: Callable[[int], NDArray[np.float32]], onnx2tf: Path | None) -> bytes:
    """The `.tflite` of an ONNX file: full int8 where that came out, else float."""
    program = onnx2tf or shutil.which("onnx2tf")
    if program is None or not Path(program).is_file():
        raise ConfigError(f"{program} is not there: {_CONVERTER_MISSING}" if program else _CONVERTER_MISSING)
    name, shape = _described(file, Path(program))
    if len(shape) != _AXES or shape[0] > 1 or 0 in shape[1:] or channels not in shape[1:]:
        raise ConfigError(
            f"{file} takes {shape}, 0 standing for a free size: [1, rows, {channels}] or [1, {channels}, rows] is "
            "wanted, with all sizes fixed"
        )
    ours = shape[2] == channels  # channels last, as the windows here; else onnx2tf turns them around by itself
    rows = shape[1] if ours else shape[2]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/windows.npy", windows(rows))
        ranges = ["-cind", name, f"{folder}/windows.npy", "[[[0.0]]]", "[[[1.0]]]"]
        keep = ["-kat", name] if ours else []
        _run(file, [str(program), "-i", str(file.resolve()), "-o", folder, "-b", "1", "-n", "-oiqt", *keep, *ranges])
        for kind in ("full_integer_quant", "float32"):
            made = Path(folder, f"{file.stem}_{kind}.tflite")
            if made.is_file():
                return made.read_bytes()
    raise ConfigError(f"{file}: onnx2tf wrote no .tflite")


def _described(file: Path, program: Path) -> tuple[str, list[int]]:
    """Name and shape of the one input."""
    said = _run(file, [str(program.with_name("python")), "-c", _DESCRIBE, str(file.resolve())])
    inputs = msgspec.json.decode(said, type=list[tuple[str, list[int]]])
    if len(inputs) != 1:
        raise ConfigError(f"{file} has {len(inputs)} inputs, and one is wanted: the window")
    return inputs[0]


def _run(file: Path, command: list[str]) -> bytes:
    try:
        done: Any = subprocess.run(command, capture_output=True, timeout=_CONVERT_S, check=False)  # noqa: S603 - the user names it
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{file}: {command[0]} did not do it: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        why = lines[-1][-300:] if lines else f"exit code {done.returncode}"
        raise ConfigError(f"{file}: onnx2tf cannot convert it: {why}")
    out: bytes = done.stdout
    return out

"""A network made elsewhere comes in as it is, by a converter where it is ONNX, or is refused with what is wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tflite_kit import dense_network, identity_network, layers_of

from trueline_cloud.learning.bring import bring, make_brought
from trueline_cloud.learning.pack import measured, pack
from trueline_edge.inference.litert import LiteRt
from trueline_model.alarm import Alarm
from trueline_model.load import check_golden, detector_of
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

ROWS, CHANNELS = 8, 3
WHERE = os.environ.get("TRUELINE_ONNX2TF") or shutil.which("onnx2tf")
CONVERTER = Path(WHERE) if WHERE else None


def windows(rows: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(64, rows, CHANNELS)).astype(np.float32)


def written(folder: Path, answer: tuple[int, ...], rows: int = ROWS) -> Path:
    """A dense network that answers a window with so many numbers."""
    file = folder / "net.tflite"
    layers = layers_of([rows * CHANNELS, 5, int(np.prod(answer))])
    file.write_bytes(dense_network(layers, (rows, CHANNELS), answer))
    return file


@pytest.mark.parametrize(
    ("answer", "output"), [((ROWS, CHANNELS), "reconstruction"), ((CHANNELS,), "forecast"), ((1,), "score")]
)
def test_what_a_network_answers_says_how_it_is_judged(tmp_path: Path, answer: tuple[int, ...], output: str) -> None:
    """As many numbers as the window are a reconstruction, as many as a row a forecast, one a score."""
    brought = bring(written(tmp_path, answer), CHANNELS, windows)
    assert (brought.recipe.rows, brought.recipe.output) == (ROWS, output)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.write_bytes(b"nothing"), "no network LiteRT can run"),
        (lambda file: file.unlink(), "cannot be read"),
    ],
)
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, change: object, says: str) -> None:
    """Its name stands in the refusal."""
    file = written(tmp_path, (CHANNELS,))
    change(file)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=says):
        bring(file, CHANNELS, windows)


def test_a_network_of_other_channels_is_refused(tmp_path: Path) -> None:
    """The refusal says which shape is wanted."""
    with pytest.raises(ConfigError, match=r"\[1, rows, 4\] is wanted"):
        bring(written(tmp_path, (CHANNELS,)), 4, windows)


def test_an_answer_of_another_size_is_refused(tmp_path: Path) -> None:
    """Two numbers are neither a window of eight rows of three, nor a row, nor a score."""
    with pytest.raises(ConfigError, match=r"24\) are a reconstruction, 3 a forecast"):
        bring(written(tmp_path, (2,)), CHANNELS, windows)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """What can be brought stands in the refusal."""
    with pytest.raises(ConfigError, match=r"comes as \.tflite or \.onnx"):
        bring(tmp_path / "net.pt", CHANNELS, windows)


def test_without_the_converter_an_onnx_file_is_refused_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two commands that bring it stand in the refusal."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"onnx/bin/pip install onnx2tf"):
        bring(tmp_path / "net.onnx", CHANNELS, windows)


MAKE = """
import sys, numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
rows, k, folder = 8, 3, sys.argv[1]
random = np.random.default_rng(0)
def weight(name, *shape):
    return numpy_helper.from_array((random.normal(size=shape) * 0.3).astype(np.float32), name)
def save(name, nodes, given, said, weights):
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", given), ("y", said))]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, f"{folder}/{name}.onnx")
save("convolution", [
    helper.make_node("Conv", ["x", "w1", "b1"], ["a"], kernel_shape=[5], pads=[2, 2], strides=[2]),
    helper.make_node("Relu", ["a"], ["r"]),
    helper.make_node("ConvTranspose", ["r", "w2", "b2"], ["y"], kernel_shape=[4], pads=[1, 1], strides=[2]),
], [1, k, rows], [1, k, rows], [weight("w1", 6, k, 5), weight("b1", 6), weight("w2", 6, k, 4), weight("b2", k)])
save("dense", [
    helper.make_node("Flatten", ["x"], ["f"], axis=1),
    helper.make_node("Gemm", ["f", "w1", "b1"], ["a"], transB=1),
    helper.make_node("Relu", ["a"], ["r"]),
    helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
], [1, rows, k], [1, k], [weight("w1", 6, rows * k), weight("b1", 6), weight("w2", k, 6), weight("b2", k)])
save("recurrent", [
    helper.make_node("LSTM", ["x", "w", "r", "b"], ["s", "y", "c"], hidden_size=4),
], [rows, 1, k], [1, 1, 4], [weight("w", 1, 16, k), weight("r", 1, 16, 4), weight("b", 1, 32)])
"""

RUN = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
given = np.load(sys.argv[2])
np.save(sys.argv[3], np.concatenate([session.run(None, {"x": one[None]})[0] for one in given]))
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three ONNX files; made by the converter's own Python, which has the library."""
    if CONVERTER is None:
        pytest.skip("onnx2tf is not here: set TRUELINE_ONNX2TF to the program")
    folder = tmp_path_factory.mktemp("onnx")
    subprocess.run([CONVERTER.with_name("python"), "-c", MAKE, folder], check=True)
    return folder


@pytest.mark.parametrize(("name", "channels_first"), [("convolution", True), ("dense", False)])
def test_an_onnx_file_answers_in_int8_as_it_did(networks: Path, name: str, channels_first: bool) -> None:  # noqa: FBT001
    """Beside ONNX's own runtime, within two int8 steps of its range, whichever order its axes had."""
    brought = bring(networks / f"{name}.onnx", CHANNELS, windows, onnx2tf=CONVERTER)
    assert CONVERTER is not None
    given = windows(ROWS)
    np.save(networks / "given.npy", given.transpose(0, 2, 1) if channels_first else given)
    files = [networks / each for each in (f"{name}.onnx", "given.npy", "said.npy")]
    subprocess.run([CONVERTER.with_name("python"), "-c", RUN, *files], check=True)
    wanted = np.load(networks / "said.npy")
    wanted = wanted.transpose(0, 2, 1) if channels_first else wanted
    got = LiteRt(brought.tflite, (ROWS, CHANNELS), wanted.shape[1:])(given)
    assert np.abs(got - wanted).max() < 3.0 * np.ptp(wanted) / 255.0


def test_what_the_converter_cannot_do_is_said(networks: Path) -> None:
    """A recurrent network whose first axis is time."""
    with pytest.raises(ConfigError, match="with all sizes fixed"):
        bring(networks / "recurrent.onnx", CHANNELS, windows, onnx2tf=CONVERTER)


def test_a_network_brought_is_packed_like_any_other(tmp_path: Path) -> None:
    """Scaled as it was trained, with p-values and golden rows of its own."""
    random = np.random.default_rng(2)
    series = make_series(random.normal(5.0, 2.0, size=(2000, CHANNELS)), interval_s=1.0, channels=["a", "b", "c"])
    file = tmp_path / "net.tflite"
    file.write_bytes(identity_network((ROWS, CHANNELS)))
    made = make_brought([series], file, centre=(5.0,) * CHANNELS, scale=(2.0,) * CHANNELS)
    packed = pack(made, ["1"] * CHANNELS, "net", 1, "here", Alarm(events=5, per_s=100), measured(made))
    detector = detector_of(packed.package, LiteRt)
    check_golden(detector, packed.package.golden, 0.05)
    assert packed.package.manifest.kind == "network"
    assert not packed.silent
    assert detector.parts().arrays["scale"].tolist() == [2.0] * CHANNELS


def test_scales_for_other_channels_are_refused(tmp_path: Path) -> None:
    """Each channel wants its own."""
    series = make_series(np.zeros((100, CHANNELS)), interval_s=1.0, channels=["a", "b", "c"])
    with pytest.raises(ConfigError, match="a number each for a, b, c"):
        make_brought([series], written(tmp_path, (CHANNELS,)), centre=(0.0,), scale=(1.0,))

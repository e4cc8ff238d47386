"""LiteRT's predecessor `tflite_runtime` runs the adapter's tests, in an environment of its own.

It wants NumPy below 2, and has wheels where LiteRT has none. Networks are written with LiteRT's schema, which is copied
there without LiteRT.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "tests" / "edge" / "test_inference_litert.py"
WANTED = ("tflite-runtime==2.14.0", "numpy<2", "pytest", "hypothesis", "flatbuffers", "msgspec")
POISON = ("empty", "rubbish", "cut off", "NaN scale", "itself")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="tflite-runtime 2.14.0 has no wheel for it"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Its interpreter, and the variables to run it with."""
    folder = tmp_path_factory.mktemp("predecessor")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    got = subprocess.run([python, "-m", "pip", "install", "-q", *WANTED], check=False, capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"not to be had here: {got.stderr[-300:]}")
    schema = importlib.util.find_spec("ai_edge_litert.schema_py_generated")
    assert schema is not None
    assert schema.origin is not None
    (folder / "ai_edge_litert").mkdir()
    (folder / "ai_edge_litert" / "__init__.py").touch()
    shutil.copy(schema.origin, folder / "ai_edge_litert")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    roots = [folder, *(ROOT / name for name in ("wire", "edge", "model", "tests/support"))]
    return python, os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots))}


def adapter_tests(python: tuple[Path, dict[str, str]], chosen: str) -> subprocess.CompletedProcess[str]:
    program, environment = python
    settings = Path(environment["PYTHONPATH"].split(os.pathsep)[0]) / "pytest.ini"
    command = [program, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", settings, ADAPTER]
    command += ["--rootdir", ROOT, "-k", chosen]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=280)


def test_the_adapter_runs_networks_with_it(python: tuple[Path, dict[str, str]]) -> None:
    """Float and int8, alone and many at once: the same tests as with LiteRT."""
    done = adapter_tests(python, "not no_such_network")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "8 passed" in done.stdout


@pytest.mark.parametrize("poison", POISON)
def test_what_it_does_not_refuse_ends_its_process(python: tuple[Path, dict[str, str]], poison: str) -> None:
    """A file that is no network is refused, or it ends the process (it checks less than LiteRT): never an answer.

    That is why a package is tried in a process of its own, whichever of the two runs it.
    """
    done = adapter_tests(python, f"no_such_network and {poison.replace(' ', ' and ')}")
    assert done.returncode < 0 or "passed" in done.stdout, done.stdout[-3000:]

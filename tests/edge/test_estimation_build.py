"""The install: with a compiler the kernels are in it, without one it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def wheel(tmp_path: Path, **environment: str) -> list[str]:
    """Names in a wheel built from a copy of the sources."""
    for name in ("wire", "model", "edge", "cloud", "simulators"):
        made = shutil.ignore_patterns("__pycache__", "*.so", "hot.c")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=made)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    (built,) = (tmp_path / "out").glob("trueline-*.whl")
    return zipfile.ZipFile(built).namelist()


def test_without_a_compiler_the_install_goes_on_with_the_textbook(tmp_path: Path) -> None:
    """No extension in it, and all that stands in for it."""
    names = wheel(tmp_path, CC="false")
    assert not [name for name in names if "estimation/hot." in name and name.endswith((".so", ".pyd"))]
    assert "trueline_edge/estimation/textbook/bank.py" in names


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler here")
def test_with_a_compiler_the_extension_is_in_the_wheel(tmp_path: Path) -> None:
    """Compiled, beside its source and its stub."""
    names = wheel(tmp_path, CFLAGS="-O0")
    assert [name for name in names if "estimation/hot." in name and name.endswith((".so", ".pyd"))]
    assert {"trueline_edge/estimation/hot.pyi", "trueline_edge/estimation/hot.pyx"} <= set(names)

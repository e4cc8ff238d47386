"""The benchmark of accuracy runs in small, its oracle is honest, and its page is written from what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEED = 21


@pytest.fixture(scope="module")
def small() -> tuple[dict[str, Any], str]:
    """A small fleet of cold boxes: what was printed."""
    command = [sys.executable, str(BENCHMARKS / "accuracy.py"), "--quick", "--devices", "4", "--seed", str(SEED)]
    done = subprocess.run(
        [*command, "--scenario", "cold_chain", "--json"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def test_every_measurand_is_scored_with_one_sensor_and_with_three(small: tuple[dict[str, Any], str]) -> None:
    """Each has its ratio, coverage and peers; the contact, which is no measurement, is left out."""
    table = small[0]["tables"]["cold_chain"]["measurands"]
    assert set(table) == {
        "air_temperature", "goods_temperature", "humidity", "room_temperature", "compressor_current"
    }  # fmt: skip
    for kinds in table.values():
        for kind, figures in kinds.items():
            assert figures["ratio"] > 0.0
            assert 0.0 <= figures["coverage_95"] <= 1.0
            wanted = {"raw", "moving average", "Hampel + mean", "fixed-gain Kalman", "filterpy"}
            assert set(figures["peers"]) == wanted | ({"inverse-variance mean"} if kind == "fused" else set())


def test_the_oracle_is_honest_and_the_pipeline_near_it(small: tuple[dict[str, Any], str]) -> None:
    """Without play its 95 % intervals hold about 95 %, and nobody is ten times worse: a sanity check of both."""
    table = small[0]["tables"]["cold_chain"]["measurands"]
    shares = [of["oracle_coverage_95"] for name, kinds in table.items() for of in kinds.values() if name != "humidity"]
    assert 0.85 <= float(np.mean(shares)) <= 1.0
    assert max(of["ratio"] for kinds in table.values() for of in kinds.values()) < 10.0


def test_a_page_is_written_from_it(small: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    """The section stands between its markers, with a table of the scenario and its picture."""
    file = tmp_path / "accuracy.json"
    file.write_text(small[1].splitlines()[-1])
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import pathlib, accuracy_page as p; "
        f"p.IMAGES = pathlib.Path({str(tmp_path)!r}); p.PAGE = p.IMAGES / 'accuracy.md'; p.ROOT = p.IMAGES; "
        f"sys.exit(p.main(['--from', 'accuracy={file}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert page.count("<!-- accuracy -->") == 1
    assert "| cold_chain | fused |" in page
    assert (tmp_path / "fleets.png").stat().st_size < 80_000

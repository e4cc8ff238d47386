"""The benchmark of realism tells like from unlike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def realism(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import realism  # noqa: PLC0415 - it is a script, found by the line above

    return realism


def test_a_series_is_at_no_distance_from_itself_and_far_from_noise(realism: ModuleType) -> None:
    """Every distance to itself is 0; a wandering series is nearer to its like than to noise or a sine."""
    import numpy as np  # noqa: PLC0415 - beside the fixture

    rng = np.random.default_rng(3)

    def wandering() -> np.ndarray:
        return np.round(np.cumsum(rng.normal(size=4000)) * 0.1, 2)

    real, alike = wandering(), wandering()
    assert set(realism.distances(real, real).values()) == {0.0}
    near = realism.distances(real, alike)
    for unlike in (rng.normal(size=4000), np.sin(np.arange(4000) / 200)):
        far = realism.distances(real, unlike)
        assert all(far[respect] > near[respect] for respect in ("spectrum", "increments"))


@pytest.mark.parametrize("step", [0.328, 1.0, 0.01])
def test_the_grid_of_a_channel_is_found_through_small_roundings(realism: ModuleType, step: float) -> None:
    """A channel in steps has that grid, even where steps were rounded again; a continuous one has next to none."""
    import numpy as np  # noqa: PLC0415 - beside the fixture

    rng = np.random.default_rng(4)
    smooth = rng.normal(size=3000) * 2 * step
    wobble = rng.choice([0.0, 0.004 * step], size=3000)
    assert realism.grid_of(np.round(smooth / step) * step + wobble) == pytest.approx(step, rel=0.02)
    assert realism.grid_of(smooth) < 0.05 * step


def test_simulated_channels_are_nearer_to_real_ones_than_naive_simulators(data_folder: Path) -> None:
    """On the recorded data, with few devices, the benchmark runs, and its bounds hold."""
    command = [sys.executable, str(BENCHMARKS / "realism.py"), "--data", str(data_folder), "--devices", "6", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    for respect in ("spectrum", "memory", "increments"):
        assert figures[f"{respect}_twin"] < figures[f"{respect}_naive_best"]
        assert figures[f"{respect}_real"] < figures[f"{respect}_naive_best"]

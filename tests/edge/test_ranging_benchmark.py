"""The benchmark of ranging: its bounds are reached on the recorded data, and it can say that they are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

pytest.importorskip("filterpy")
pytest.importorskip("scipy")

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ranging(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import ranging as script  # noqa: PLC0415 - a benchmark is a script, not a package

    return script


def test_standing_and_moving_tags_are_within_their_bounds(data_folder: Path) -> None:
    """Every figure that was asked for is reached, and printed beside its peers."""
    if not (data_folder / "uwb_hanyang").is_dir():
        pytest.skip("no uwb_hanyang there")
    command = [sys.executable, str(_FOLDER / "ranging.py"), "--data", str(data_folder), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["misses"] == []
    assert figures["standing_files_empty"] == 5
    assert abs(figures["standing_raw_all_rmse_m"] - 0.239) < 0.001
    tracks = {row["track"]: row for row in figures["moving_tracks"]}
    assert tracks["ours, slow errors forgotten"]["coverage"] < 0.5  # the control of the intervals


def test_a_miss_is_said(ranging: ModuleType) -> None:
    """Negative control: figures outside the bounds are each named."""
    good = {
        "standing_rmse_m": 0.03,
        "standing_coverage_95": 0.95,
        "moving_rmse_m": 0.3,
        "moving_authors_ls_rmse_m": 0.6,
        "moving_authors_eskf_rmse_m": 0.7,
        "moving_coverage_95": 0.95,
    }
    assert ranging.misses(good) == []
    bad = {"standing_rmse_m": 0.04, "moving_rmse_m": 0.65, "standing_coverage_95": 0.99, "moving_coverage_95": 0.85}
    for key, number in bad.items():
        assert len(ranging.misses({**good, key: number})) == 1


def test_the_calibration_file_says_what_was_fitted(ranging: ModuleType) -> None:
    """The benchmark's own features and the stage that reads the file agree to the last digits."""
    import numpy as np  # noqa: PLC0415 - only this test needs it

    rng = np.random.default_rng(1)
    inputs = {"range": rng.uniform(2, 60, 50), "rssi": rng.uniform(-95, -75, 50), "height": rng.uniform(0.5, 2, 50)}
    distance = inputs["range"] - 0.2 + rng.normal(0, 0.03, 50)
    for curve in ranging.CURVES.values():
        for added in ranging.ADDED.values():
            found = ranging.fit((*curve, *added), inputs, distance)
            value, u = ranging.corrected(ranging.calibration(found, 0.03, inputs), inputs)
            x = ranging.features(found.terms, inputs)
            np.testing.assert_allclose(value, inputs["range"] + x @ found.coefficients, atol=1e-9)
            own = np.sqrt(0.03**2 + np.einsum("ni,ij,nj->n", x, found.covariance, x))
            np.testing.assert_allclose(u, own, rtol=1e-3)

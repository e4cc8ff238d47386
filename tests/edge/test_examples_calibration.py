"""The example of a calibration campaign runs, and says what it is there to show."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "calibration" / "run.py"


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sensor is calibrated, the drifting one is named, and the picture is there."""
    spec = importlib.util.spec_from_file_location("calibration_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.run(tmp_path, days=14) == (0, 1)
    said = capsys.readouterr().out
    for sensor, verdict in (
        ("o3_a", "consistent"),
        ("o3_b", "consistent"),
        ("o3_c", "inconsistent"),
        ("o3_d", "consistent"),
    ):
        assert f"{sensor}: {verdict}\n" in said
    assert "drift per day" in said
    assert (tmp_path / "before-and-after.png").stat().st_size > 10_000
    assert "Bland-Altman" in (tmp_path / "o3_a.html").read_text(encoding="utf-8")

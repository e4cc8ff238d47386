"""The pictures of the faults: the script runs, and what its pictures say is so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PICTURE_MAX_BYTES = 80_000


def test_the_script_draws_each_fault_and_keeps_its_word(tmp_path: Path) -> None:
    """A spike moves nothing, a step is followed, stuck and dead sensors lose their value, neighbours find a drift."""
    argv = [sys.executable, str(_ROOT / "examples" / "faults" / "run.py"), "--out", str(tmp_path), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = {verdict["fault"]: verdict for verdict in json.loads(done.stdout)["faults"]}
    for name in found:
        assert 0 < (tmp_path / f"{name}.png").stat().st_size < _PICTURE_MAX_BYTES
    assert found["spike"]["t1_flagged"] >= 7
    assert found["spike"]["worst_out_K"] < 0.6
    assert found["spike"]["without_value"] == found["step"]["without_value"] == 0
    assert found["step"]["rows_1_K_off"] <= 10  # two steps, five readings each
    assert found["stuck"]["t1_flagged"] >= 130
    assert found["stuck"]["without_value"] > 60
    assert found["dead"]["t1_flagged"] >= 150
    assert found["dead"]["without_value"] > 80
    assert found["drift"]["t1_flagged"] > 350
    assert found["drift"]["coverage_95"] > 0.9
    assert found["drift"]["rmse_out_K"] < 0.2 * found["drift"]["rmse_raw_K"]


def test_the_pictures_in_the_repository_are_there() -> None:
    """The README's pictures exist, and are small."""
    page = (_ROOT / "examples" / "faults" / "README.md").read_text()
    for name in ("spike", "step", "stuck", "dead", "drift"):
        picture = _ROOT / "docs" / "images" / "faults" / f"{name}.png"
        assert f"docs/images/faults/{name}.png" in page
        assert 0 < picture.stat().st_size < _PICTURE_MAX_BYTES

"""A really dirty recording through the agent's replay, scored by rules that share no code with the stages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_must_be_flagged_is_and_what_is_good_is_left_alone(data_folder: Path) -> None:
    """Outside physics, duplicate, backward: all; good: at most 0.5 %; and without a stage its part is missed."""
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "cleaning.py"),
        "--data",
        str(data_folder),
        "--quick",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ("outside", "duplicate", "backward"):
        assert found[f"{kind}_flagged"] == found[kind] > 0
    assert found["good_flagged"] <= 0.005 * found["good"]
    assert found["duplicate_flagged_without_timing"] < found["duplicate"]
    assert found["outside_flagged_without_gross_range"] < found["outside"]

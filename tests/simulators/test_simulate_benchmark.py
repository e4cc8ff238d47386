"""The benchmark of the simulators runs in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulate.py"


def test_a_small_world_is_measured() -> None:
    """Few devices and steps give one object of figures; the exit code is that of its misses."""
    command = [sys.executable, str(SCRIPT), "--devices", "20", "--steps", "50", "--repetitions", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (1 if figures["misses"] else 0), done.stderr
    assert figures["block_sizes_agree"] is True
    assert figures["water_loop_made_per_cpu_s"] > 0
    assert figures["recorded_per_cpu_s"] > 0

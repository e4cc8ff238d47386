"""The long run of `make soak`; CI runs a thousand devices for half a minute (`test_fleet`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueline_sim.processes import find_mosquitto

_SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_thousand_devices_for_ten_minutes() -> None:
    """A frame each 10 s of 10,000 devices into one cloud: nothing lost, nothing twice, memory and descriptors flat."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    argv = [sys.executable, str(_SOAK), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1700, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["devices"] == 10_000
    assert result["missing"] == result["duplicates"] == 0
    assert result["misses"] == []

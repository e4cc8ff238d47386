"""Real recorded readings all the way, and back bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_EXAMPLE = Path(__file__).parents[2] / "examples" / "skab" / "run.py"
_LINKS = ["mqtt", "coap"]


def _run(data: Path, *more: str) -> dict[str, object]:
    argv = [sys.executable, str(_EXAMPLE), "--data", str(data), "--json", *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def _assert_equal(result: dict[str, object]) -> None:
    assert result["ok"] is True
    assert result["rows_lost"] == result["rows_doubled"] == result["rows_different"] == 0


@pytest.mark.parametrize("link", _LINKS)
def test_some_runs_come_back_bit_for_bit(link: str, data_folder: Path) -> None:
    """A file of each folder through agent, link and cloud equals its export in every time and every bit."""
    result = _run(data_folder, "--link", link, "--files", "1")
    _assert_equal(result)
    assert result["files"] == 4


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("link", _LINKS)
def test_all_runs_come_back_bit_for_bit(link: str, data_folder: Path) -> None:
    """All 35 files, 46,806 rows: 0 lost, 0 doubled, values equal."""
    result = _run(data_folder, "--link", link)
    _assert_equal(result)
    assert (result["files"], result["rows"]) == (35, 46_806)


def test_the_comparison_can_fail(data_folder: Path) -> None:
    """Negative control: a lost row, a doubled row and a single flipped bit are each found."""
    sys.path.insert(0, str(_EXAMPLE.parent))
    try:
        import run  # noqa: PLC0415 - an example is a script, not a package
    finally:
        sys.path.remove(str(_EXAMPLE.parent))
    times, values = run.read_csv(data_folder / "skab" / "valve1" / "0.csv")
    assert run.compare("d", "s", (times, values), (times, values)).different == 0
    assert run.compare("d", "s", (times, values), (times[1:], values[1:])).lost == 1
    twice = np.concatenate([times, times[-1:]]), np.concatenate([values, values[-1:]])
    assert run.compare("d", "s", (times, values), twice).doubled == 1
    flipped = values.copy()
    flipped.view(np.int64)[7, 3] ^= 1
    assert run.compare("d", "s", (times, values), (times, flipped)).different == 1

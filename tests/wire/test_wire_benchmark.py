"""The benchmark of the wire runs on any table."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "wire.py"


def test_any_csv_is_measured(tmp_path: Path) -> None:
    """A table of one's own, with holes and words in it, gives one object of figures, ours and nine others'."""
    table = tmp_path / "mine.csv"
    rows = (
        f"2026-01-01T00:{i // 60:02}:{i % 60:02},{math.sin(i):.3f},{'' if i % 9 == 0 else i * 5},ok" for i in range(90)
    )
    table.write_text("\n".join(["when,swing,count,word", *rows]))
    command = [sys.executable, str(SCRIPT), "--csv", str(table), "--rows", "60", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["mine_values"] == 180
    sizes = {name: size for name, size in figures.items() if name.endswith("_bytes_per_value")}
    assert len(sizes) == 10
    assert all(0 < size < 100 for size in sizes.values())
    assert figures["rows_60_decode_cpu_ms_per_frame"] >= 0


def test_no_data_is_a_miss(tmp_path: Path) -> None:
    """Without the recorded runs the bounds are not met, and the exit code says so."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--data", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "no recorded runs" in done.stderr

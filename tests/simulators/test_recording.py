import csv
from pathlib import Path

from trueline_sim.recording import COLUMNS, write_recording


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_faults_are_as_stated(tmp_path: Path) -> None:
    """Empty cells are as many as stated, and where the humidity sensor sticks it repeats itself."""
    path = tmp_path / "room.csv"
    faults = write_recording(path, start_ns=10**18, rows=600, rate_hz=5.0, seed=3)
    rows = _read(path)
    assert [int(row["time"]) for row in rows] == [10**18 + n * 200_000_000 for n in range(600)]
    assert sum(row[name] == "" for row in rows for name in COLUMNS) == faults.empty > 10
    humidity = [row["humidity"] for row in rows]
    assert faults.stuck == 120
    stuck = [value for value in humidity[75:105] if value]
    assert len(set(stuck)) == 1
    assert len(set(humidity[110:140])) > 5


def test_the_seed_decides(tmp_path: Path) -> None:
    """Equal seeds write equal files, other seeds others."""
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        write_recording(tmp_path / name, start_ns=0, rows=50, rate_hz=2.0, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()

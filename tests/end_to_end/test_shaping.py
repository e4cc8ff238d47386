"""A join and a swinging door on the way: killed again and again, the cloud has what replay gives at a desk."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from trueline_sim.processes import Site, find_mosquitto

if TYPE_CHECKING:
    from pathlib import Path

_KILLS = 8
_SPEED = 400.0


def _stream(folder: Path) -> dict[str, Any]:
    """10 Hz held to half seconds beside one every seven seconds on a line; rows go out where a line could not go on."""
    rng, level = random.Random(5), 0.0
    fast, slow = folder / "fast.csv", folder / "slow.csv"
    rows = []
    for n in range(20_000):
        level += rng.gauss(0.0, 0.02)
        rows.append(f"{1_600_000_000 + n / 10:.1f},{level!r}")
    fast.write_text("time,v\n" + "\n".join(rows) + "\n")
    slow.write_text(
        "time,w\n" + "\n".join(f"{1_600_000_000 + 7 * n},{rng.gauss(5.0, 0.3)!r}" for n in range(286)) + "\n"
    )

    def entry(path: Path, channel: str, interpolation: str) -> dict[str, Any]:
        source = {"type": "replay", "path": str(path), "time_format": "s", "speed": _SPEED}
        return {"channels": [channel], "interpolation": interpolation, "age_max_s": 15.0, "source": source}

    return {
        "name": "hall",
        "source": {
            "type": "join",
            "period_s": 0.5,
            "lateness_s": 60.0,
            "input": [entry(fast, "v", "previous"), entry(slow, "w", "linear")],
        },
        "channel": [{"name": "v"}, {"name": "w", "u": 0.1}],
        "stage": [
            {
                "type": "significance",
                "method": "swinging_door",
                "bounds": {"v": 0.2, "w": 0.3},
                "event": {"above": {"w": 5.9}, "rows_before": 6, "rows_after": 3},
            }
        ],
    }


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _exported(path: Path) -> list[tuple[str, ...]]:
    return [(row["time_ns"], c, row[c], row[f"{c}.flag"]) for row in _table(path) for c in ("v", "w")]


def _replayed(path: Path) -> list[tuple[str, ...]]:
    return [(row["time_ns"], row["channel"], row["value"], row["flag"]) for row in _table(path)]


@pytest.mark.crash
def test_a_killed_agent_joins_and_thins_as_one_that_lives(tmp_path: Path) -> None:
    """Kill -9 at random moments: what is stored is, row for row, what replay gives; every other row is counted."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    rng = random.Random(1)
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        agent = site.add_agent("shaped-1", [_stream(tmp_path)], frame={"rows_max": 50, "interval_s": 0.1})
        for _ in range(_KILLS):
            agent.start()
            time.sleep(rng.uniform(0.5, 2.0))
            agent.kill()
        agent.start("--until-drained")
        counts = agent.result(240.0)
        stored = _exported(site.export(agent.device, "hall", tmp_path / "stored.csv"))
        (lane,) = site.ledger(agent.device)
    wanted = tmp_path / "wanted.csv"
    argv = [sys.executable, "-m", "trueline_edge", "replay", str(agent.config), "--out", str(wanted)]
    subprocess.run(argv, check=True, timeout=120, capture_output=True)
    assert stored == _replayed(wanted)
    assert counts["rows_sampled"] == counts["rows_spooled"] + counts["rows_insignificant"] == 4000
    assert counts["rows_insignificant"] > 1000
    assert lane["lost_before_spool"] == {"insignificant": counts["rows_insignificant"]}
    assert lane["verdict"] == "complete"

"""Virtual devices and a long outage against the real cloud, small; the benchmarks do it at size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueline_sim.processes import find_mosquitto

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script: str, *more: str) -> dict[str, object]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    argv = [sys.executable, str(_BENCHMARKS / script), "--json", *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_small_fleet_loses_and_doubles_nothing() -> None:
    """Forty virtual devices through mosquitto: every frame is in the journal once."""
    result = _run("fleet.py", "--devices", "40", "--seconds", "3")
    assert result["rows_sent"] == result["rows_in_ledger"] == result["rows_in_journal"] == 1200
    assert result["missing"] == result["duplicates"] == 0
    assert result["lanes_complete"] == 40


def test_a_thousand_devices_of_two_kinds_lose_and_double_nothing() -> None:
    """1,000 devices in greenhouses and cold chains for 30 s, a frame each 10 s: every row once, absent rows absent."""
    groups = ["--group", "greenhouse:600", "--group", "cold_chain:400"]
    result = _run("fleet.py", *groups, "--seconds", "30", "--rate-hz", "0.1", "--distinct", "250")
    assert result["groups"] == "600 greenhouse, 400 cold_chain"
    assert result["carried"] == "multiplexed over 4 connections"
    assert result["rows_sent"] == result["rows_in_ledger"] == result["rows_in_journal"]
    assert result["rows_sent"] + result["rows_absent"] == 30_000
    assert result["missing"] == result["duplicates"] == 0
    assert result["lanes_complete"] == 1000


def test_an_outage_drains_completely_and_in_order() -> None:
    """What an agent spooled in twenty minutes without a link comes out once, in order, when the broker is there."""
    result = _run("outage.py", "--hours", "0.33")
    assert result["rows_sampled"] == result["rows_spooled"] == result["rows_exported"] == 11_880
    assert result["missing"] == result["duplicates"] == result["frames_stored_out_of_order"] == 0
    assert result["agent_drained"] is True
    assert result["ledger_verdict"] == "complete"

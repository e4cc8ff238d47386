"""R2: kill -9 of the cloud, at named points between the steps of a commit and at random moments."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from crash_kit import Proof, campaign
from crash_peer import Counters
from crash_rows import stream, write_rows
from crash_site import finish, ledger, patch, stored

from trueline_sim.children import wait_until
from trueline_sim.processes import Child, Site, free_port

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from trueline_sim.processes import Agent

_POINTS = ("after_receive", "after_decode", "before_commit", "in_commit", "after_commit", "after_ack")
_FRAME = {"rows_max": 40, "interval_s": 0.05}
_SPEED = 300.0
_ROWS_PER_KILL = 2500


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def _kill_once(site: Site, agent: Agent, point: str, rng: random.Random) -> str:
    """Start the cloud (which is down), and end it at a point, or at a random moment; what ended it.

    The agent is killed and started with it, so that its patience with a dead cloud does not make the campaign wait.
    """
    agent.kill()
    agent.start()
    if point:
        site.cloud.environment["TRUELINE_CRASH_AT"] = f"{point}:{rng.randrange(1, 7)}"
        Child.start(site.cloud)
        if site.cloud.wait(120.0) != -9:
            raise site.cloud.error(f"did not die at {point}")
        return point
    site.cloud.environment.pop("TRUELINE_CRASH_AT", None)
    Child.start(site.cloud)
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0.0, 1.0))
        site.cloud.kill()
        return "while it starts"
    site.cloud.wait_ready(lambda: "ready " in site.cloud.out.read_text(), 60.0)
    time.sleep(rng.uniform(0.0, 2.0))
    site.cloud.kill()
    return "at random"


def _plan(kills: int, rng: random.Random) -> list[str]:
    """Points and random moments in turn, never one point twice running: what is in hand at two deaths is put aside."""
    named = [_POINTS[number % len(_POINTS)] for number in range(2 * kills // 3)]
    plan: list[str] = []
    rest = ["" for _ in range(kills - len(named))]
    while named or rest:
        pool = rest if rest and (not named or rng.random() < 1 / 3 or named[0] == (plan or [""])[-1]) else named
        plan.append(pool.pop(0))
    return plan


def test_a_killed_cloud_loses_and_doubles_nothing(site: Site, proof: Proof) -> None:
    """Kill -9 between each pair of steps and at random: every row is stored once, bit for bit, ledger complete."""
    kills, rng = campaign(100), proof.rng()
    rows = write_rows(site.folder / "rows.csv", _ROWS_PER_KILL * kills, proof.seed)
    agent = site.add_agent("steady-1", [stream(rows, speed=_SPEED)], frame=_FRAME)
    agent.start()
    site.cloud.kill()
    where = Counter(_kill_once(site, agent, point, rng) for point in _plan(kills, rng))
    assert agent.alive
    site.cloud.environment.pop("TRUELINE_CRASH_AT", None)
    site.cloud.start()
    finish(agent, 900.0)
    found, lane = stored(site, agent, rows), ledger(site, agent.device)
    proof.says(n=kills, result=str(found), killed=dict(where))
    assert found.equal, found
    assert lane["verdict"] == "complete", lane
    assert lane["alarms"] == {}, lane
    assert lane["rows_quarantined"] == 0, lane
    site.cloud.command("ledger", "--verify", "--config", str(site.cloud.config))


def _acknowledged(counters: Counters) -> float:
    try:
        return counters.read()["trueline_frames_acknowledged_total"]
    except OSError:  # the agent is starting
        return 0.0


def test_a_cloud_that_acknowledges_before_it_commits_loses_rows(site: Site, proof: Proof) -> None:
    """Negative control: acknowledged before committed, and a kill loses rows; the ledger can only say how many."""
    kills, rng = max(3, campaign(10)), proof.rng()
    rows = write_rows(site.folder / "rows.csv", 3000 * kills, proof.seed)
    extra = {"metrics": {"host": "127.0.0.1", "port": free_port()}}
    agent = site.add_agent("early-1", [stream(rows, speed=_SPEED)], frame=_FRAME, extra=extra)
    counters = Counters(f"http://127.0.0.1:{extra['metrics']['port']}")
    honest = list(site.cloud.argv)
    site.cloud.kill()
    patch(site.cloud, "early-ack")
    agent.start()
    for _ in range(kills):
        site.cloud.start()
        before = _acknowledged(counters)
        wait_until(lambda n=before: _acknowledged(counters) > n + 5, "acknowledgements", 60.0)
        time.sleep(rng.uniform(0.0, 0.1))
        site.cloud.kill()
    site.cloud.argv[:] = honest
    site.cloud.start()
    finish(agent, 900.0)
    found, lane = stored(site, agent, rows), ledger(site, agent.device)
    proof.says(control=f"acknowledged before committed, {kills} kills: {found}; ledger {lane['missing_by_reason']}")
    assert found.missing
    assert lane["rows_missing"] == len(found.missing)

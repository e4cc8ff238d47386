"""R6: the disk is full, under the agent's spool and under the cloud's journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from crash_disk import Injection, SmallDisk, small_disk, terminate_tracee
from crash_kit import Proof, campaign
from crash_peer import Counters
from crash_rows import stream, write_rows
from crash_site import finish, ledger, patch, ready_socket, stored

from trueline_sim.children import wait_until
from trueline_sim.processes import Site, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crash_rows import Comparison

    from trueline_sim.processes import Agent

_FRAME = {"rows_max": 40, "interval_s": 0.05}
_SPEED = 3000.0
_DISK_BYTES = 4 * 1024 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        yield site


@pytest.fixture
def spool_disk(site: Site) -> Iterator[SmallDisk]:
    with small_disk(site.folder / "agents" / "state", _DISK_BYTES) as disk:
        yield disk


def _agent(site: Site, device: str, source: Path, speed: float = _SPEED) -> Agent:
    extra = {"spool": {"size_max_bytes": 64 << 20}, "metrics": {"host": "127.0.0.1", "port": free_port()}}
    return site.add_agent(device, [stream(source, speed=speed)], frame=_FRAME, extra=extra)


def _account(counts: dict[str, Any], found: Comparison, lane: dict[str, Any]) -> str:
    """What was sampled is stored, dropped or lost, to the row; agent, ledger and export say the same.

    The agent may count more as dropped than the ledger: what it dropped had perhaps been stored, and not acknowledged.
    """
    lost = sum(counts["rows_lost"].values())
    dropped = lane["missing_by_reason"].get("dropped", 0)
    text = f"{found}; agent {counts}; ledger {lane}"
    assert not found.twice, text
    assert not found.wrong, text
    assert counts["rows_sampled"] == found.rows, text
    assert counts["rows_dropped"] >= dropped, text
    assert counts["rows_spooled"] == found.stored + dropped, text
    assert lane["missing_by_reason"].keys() <= {"dropped"}, text
    assert lane["rows_stored"] == found.stored, text
    assert lane["lost_before_spool"] == counts["rows_lost"], text
    assert found.stored + dropped + lost == found.rows, text
    return f"{found.rows} sampled = {found.stored} stored + {dropped} dropped + {lost} lost before the spool"


def test_an_agent_on_a_full_disk_lives_drops_and_counts(site: Site, spool_disk: SmallDisk, proof: Proof) -> None:
    """A disk that fills up again and again: alive, drops counted to the row, at work again soon after there is room."""
    points, rng = max(4, campaign(25)), proof.rng()
    source = write_rows(site.folder / "rows.csv", 8000 * points, proof.seed)
    site.broker.start()
    agent = _agent(site, "full-1", source, _SPEED / 3)  # rows to the end, also where everything takes its time
    agent.start()
    counters = Counters(f"http://127.0.0.1:{agent.document['metrics']['port']}")
    wait_until(lambda: "trueline_rows_spooled_total" in _maybe(counters), "metrics", 30.0)
    recovered_s: list[float] = []
    for point in range(points):
        if point == points // 2:  # the first half without a cloud, with a backlog; the second half with one
            site.cloud.start()
        spool_disk.fill(rng.choice([0, 0, 4096, 70_000]))
        time.sleep(rng.uniform(0.5, 1.5))
        assert agent.alive, agent.log_tail()
        spool_disk.release()
        began, spooled = time.monotonic(), counters.read()["trueline_rows_spooled_total"]
        wait_until(lambda n=spooled: counters.read()["trueline_rows_spooled_total"] > n, "rows spooled again", 20.0)
        recovered_s.append(time.monotonic() - began)
    assert agent.stop() == 0
    counts = finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=points, result=_account(counts, found, lane), recovered_s_max=round(max(recovered_s), 2))
    assert max(recovered_s) < 5.0
    assert len(found.missing), "the disk was never full: this proves nothing"


def test_an_agent_starts_on_a_full_disk(site: Site, spool_disk: SmallDisk, proof: Proof) -> None:
    """A killed agent with a backlog is started while its disk is full: it gets ready, lives, and accounts for all."""
    source = write_rows(site.folder / "rows.csv", 20_000, proof.seed)
    agent = _agent(site, "cramped-1", source)
    with ready_socket() as notify:
        notify.start(agent)
        time.sleep(1.0)
        agent.kill()
        spool_disk.fill()
        notify.start(agent)
        time.sleep(2.0)
        assert agent.alive, agent.log_tail()
    spool_disk.release()
    assert agent.stop() == 0
    site.start()
    counts = finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=1, result=_account(counts, found, lane))


def test_without_a_policy_a_full_disk_ends_the_agent(site: Site, spool_disk: SmallDisk, proof: Proof) -> None:
    """Negative control: the same disk, and an append that finds no room is taken for a broken one."""
    source = write_rows(site.folder / "rows.csv", 20_000, proof.seed)
    agent = _agent(site, "helpless-1", source)
    patch(agent, "no-policy")
    agent.start()
    time.sleep(1.0)
    spool_disk.fill()
    wait_until(lambda: not agent.alive, "the agent's end", 20.0)
    proof.says(control="without dropping by policy the agent ends when its disk is full")


def _maybe(counters: Counters) -> dict[str, float]:
    try:
        return counters.read()
    except OSError:
        return {}


def test_an_agent_whose_writes_find_no_space_lives_and_counts(site: Site, proof: Proof) -> None:
    """ENOSPC from system calls, from a random one on for a while: alive, and every row accounted for."""
    points, rng = campaign(25), proof.rng()
    source = write_rows(site.folder / "rows.csv", 6000 * points, proof.seed)
    site.start()
    agent = _agent(site, "nospace-1", source)
    hit = 0
    for point in range(points):
        first = rng.randrange(60, 400)  # behind the start: a disk that takes nothing then is for systemd to try again
        last = first + rng.choice([1, 5, 50, 300])
        rule = f"pwrite64,ftruncate,fallocate:error=ENOSPC:when={first}..{last}"
        injection = Injection(agent, [rule], site.folder / "strace.log")
        agent.start()
        time.sleep(2.0 + rng.uniform(1.0, 2.0))
        assert agent.alive, f"point {point}, {rule}: {agent.log_tail()}"
        code = terminate_tracee(injection, agent)
        assert code == 0, f"point {point}, {rule}: exit code {code}: {agent.log_tail()}"
        hit += bool(injection.injected())
        injection.lift()
    counts = finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=points, points_hit=hit, result=_account(counts, found, lane))
    assert hit


def test_a_cloud_with_a_full_journal_says_busy_and_loses_nothing(site: Site, proof: Proof) -> None:
    """The journal's disk is full: the cloud lives and says busy, devices hold, and later all of it arrives."""
    points, rng = max(2, campaign(10)), proof.rng()
    source = write_rows(site.folder / "rows.csv", 4000 * points, proof.seed)
    with small_disk(site.folder / "cloud" / "state", 2 * _DISK_BYTES) as disk:
        site.start()
        counters = Counters(site.cloud.url)
        agent = _agent(site, "patient-1", source)
        agent.start()
        busy = 0
        for _ in range(points):
            seen = counters.outcome("frames")
            wait_until(lambda n=seen: counters.outcome("frames") > n, "frames", 60.0)
            before = counters.outcome("busy")
            disk.fill(rng.choice([0, 4096]))
            wait_until(lambda n=before: counters.outcome("busy") > n or not site.cloud.alive, "busy", 60.0)
            time.sleep(rng.uniform(0.2, 1.0))
            busy += counters.outcome("busy") - before
            assert site.cloud.alive, site.cloud.log_tail()
            assert agent.alive
            disk.release()
        finish(agent)
        found, lane = stored(site, agent, source), ledger(site, agent.device)
        proof.says(n=points, result=f"{found}; {busy} times busy")
        assert found.equal, found
        assert lane["verdict"] == "complete", lane
        site.cloud.kill()

"""R7: fsync says EIO, at the agent and at the cloud. What it was to make durable is not: stop, and start again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from crash_disk import Injection, acks_sent, needs_strace, terminate_tracee
from crash_kit import Proof, campaign
from crash_rows import stream, write_rows
from crash_site import finish, ledger, patch, stored

from trueline_sim.processes import Child, ChildError, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FRAME = {"rows_max": 20, "interval_s": 0.05}
_SPEED = 400.0
_ROWS_PER_POINT = 3000
_ENDS_WITHIN_S = 90.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs_strace()
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def _rule(at: int) -> str:
    return f"fsync,fdatasync:error=EIO:when={at}+"


def test_an_agent_ends_at_a_failed_sync_and_loses_nothing(site: Site, proof: Proof) -> None:
    """The agent's sync fails: it ends with an exit code that is not 0, and after a restart every row arrives once."""
    points, rng = max(2, campaign(10)), proof.rng()
    source = write_rows(site.folder / "rows.csv", _ROWS_PER_POINT * points, proof.seed)
    agent = site.add_agent("eio-1", [stream(source, speed=_SPEED)], frame=_FRAME)
    codes = set()
    for _ in range(points):
        injection = Injection(agent, [_rule(rng.randrange(1, 60))], site.folder / "strace.log")
        agent.start()
        codes.add(agent.wait(_ENDS_WITHIN_S))
        assert injection.injected()
        injection.lift()
    finish(agent, 600.0)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=points, result=f"agent: exit codes {sorted(codes)}; {found}")
    assert 0 not in codes
    assert found.equal, found
    assert lane["verdict"] == "complete", lane


def test_a_cloud_never_acknowledges_after_a_failed_sync(site: Site, proof: Proof) -> None:
    """The cloud's sync fails: no ACK leaves any more, it ends with an exit code that is not 0, and nothing is lost."""
    points, rng = campaign(10), proof.rng()
    source = write_rows(site.folder / "rows.csv", _ROWS_PER_POINT * points, proof.seed)
    agent = site.add_agent("patient-1", [stream(source, speed=_SPEED)], frame=_FRAME)
    site.cloud.kill()
    codes, acks = set(), 0
    for _ in range(points):
        injection = Injection(
            site.cloud, [_rule(rng.randrange(3, 24))], site.folder / "strace.log", also="sendto,sendmsg,write"
        )
        agent.kill()
        agent.start()
        Child.start(site.cloud)
        codes.add(site.cloud.wait(_ENDS_WITHIN_S))
        failed, sent = injection.injected(), acks_sent(injection.lines())
        assert failed
        assert not [line for line in sent if line > failed[0]], "an ACK after a failed sync"
        acks += len(sent)
        injection.lift()
    site.cloud.start()
    finish(agent, 600.0)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=points, result=f"cloud: exit codes {sorted(codes)}, {acks} ACKs before and 0 after; {found}")
    assert 0 not in codes
    assert found.equal, found
    assert lane["verdict"] == "complete", lane
    assert lane["alarms"] == {}, lane


def test_without_synchronous_the_failure_goes_unnoticed(site: Site, proof: Proof) -> None:
    """Negative control: with synchronous=OFF the same injection is never met, and the agent believes its disk."""
    source = write_rows(site.folder / "rows.csv", 4000, proof.seed)
    agent = site.add_agent("careless-1", [stream(source, speed=_SPEED)], frame=_FRAME)
    patch(agent, "no-sync")
    injection = Injection(agent, [_rule(1)], site.folder / "strace.log")
    agent.start()
    time.sleep(5.0)
    assert agent.alive, agent.log_tail()
    code = terminate_tracee(injection, agent)
    assert not injection.injected()
    assert code == 0
    proof.says(control="synchronous=OFF: no sync was asked for, none failed, the agent ended with 0")


def test_acks_are_seen_in_what_strace_writes(site: Site, proof: Proof) -> None:
    """Negative control of the watch: ACKs of an undisturbed cloud are found in its system calls."""
    source = write_rows(site.folder / "rows.csv", 200, proof.seed)
    agent = site.add_agent("seen-1", [stream(source)], frame=_FRAME)
    site.cloud.kill()
    injection = Injection(site.cloud, [_rule(60_000)], site.folder / "strace.log", also="sendto,sendmsg,write")
    site.cloud.start()
    try:
        finish(agent, 600.0)
    except ChildError:
        pytest.fail(site.cloud.log_tail())
    sent = acks_sent(injection.lines())
    proof.says(control=f"{len(sent)} ACKs seen with no sync failed")
    assert sent

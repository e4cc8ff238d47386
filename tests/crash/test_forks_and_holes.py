"""Cards restored from an older copy, cards cloned, and a journal restored: nothing new is acknowledged away."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from crash_bench import copy_files, flip
from crash_kit import Proof, campaign
from crash_rows import stream, write_rows
from crash_site import finish, frames_waiting, ledger, patch, stored

from trueline_sim.children import wait_until
from trueline_sim.processes import Agent, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FRAME = {"rows_max": 20, "interval_s": 0.05}
_FORK = {"fork", "restored_or_cloned"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def _restored(site: Site, proof: Proof, name: str, *, how: str = "") -> tuple[Agent, Path]:
    """A device whose card is replaced by a copy taken before its last 1,000 rows were sent; then it measures more."""
    old = write_rows(site.folder / f"{name}-old.csv", 300, proof.seed)
    more = write_rows(site.folder / f"{name}-more.csv", 3000, proof.seed + 1)
    agent = site.add_agent(name, [stream(old)], frame=_FRAME)
    if how:
        patch(agent, how)
    finish(agent)
    copy_files(agent.state, site.folder / name, "spool.db")
    write_rows(old, 1300, proof.seed)  # the same rows, and 1,000 behind them
    finish(agent)
    for path in agent.state.glob("spool.db*"):
        path.unlink()
    copy_files(site.folder / name, agent.state, "spool.db")
    agent.rewrite({"stream": [stream(more, name="more")]})
    finish(agent)
    return agent, more


def test_a_restored_card_loses_nothing_new_and_the_ledger_names_the_fork(site: Site, proof: Proof) -> None:
    """A spool restored from an older copy: all that is measured after it is stored once, and the fork is named."""
    agent, more = _restored(site, proof, "restored-1")
    found, lane = stored(site, agent, more, "more"), ledger(site, agent.device)
    old = stored(site, agent, site.folder / "restored-1-old.csv")
    proof.says(n=1, result=f"{found}; alarms {lane['alarms']}, verdict {lane['verdict']}")
    assert found.equal, found
    assert old.equal, old
    assert _FORK & lane["alarms"].keys(), lane


def test_a_card_that_goes_on_with_its_old_numbers_loses_what_is_new(site: Site, proof: Proof) -> None:
    """Negative control: without a new epoch for each start, what is measured after the restore is acknowledged away."""
    agent, more = _restored(site, proof, "restored-2", how="same-epoch")
    found = stored(site, agent, more, "more")
    proof.says(control=f"no new epoch at a start, card restored: {found}")
    assert found.missing


def test_a_flipped_bit_in_the_log_rewinds_the_spool_and_nothing_is_lost(site: Site, proof: Proof) -> None:
    """A bit flips in the spool's log and shortens it: every row is stored at least once, none of them wrong."""
    n, rng = max(2, campaign(10)), proof.rng()
    source = write_rows(site.folder / "rows.csv", 8000 * n, proof.seed)
    agent = site.add_agent("flipped-1", [stream(source, speed=800.0)], frame=_FRAME)
    rewound = 0
    for _ in range(n):
        agent.start()
        before = _stored_rows(site, agent)
        wait_until(lambda seen=before: _stored_rows(site, agent) > seen + 100, "rows on their way", 60.0)
        agent.kill()
        wal = agent.state / "spool.db-wal"
        if wal.exists() and wal.stat().st_size:
            flip(wal, rng)
            rewound += 1
    counts = finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    missing = lane["rows_missing"]
    proof.says(n=rewound, result=f"{found}; ledger missing {missing}, alarms {lane['alarms']}")
    assert not found.wrong
    assert len(found.missing) <= missing, (found, lane, counts)


def _stored_rows(site: Site, agent: Agent) -> int:
    lanes = [lane for lane in site.ledger() if lane["device"] == agent.device]
    return int(lanes[0]["rows_stored"]) if lanes else 0


def test_a_cloned_device_is_named_and_both_are_stored(site: Site, proof: Proof) -> None:
    """Two agents from copies of one state folder, at work at once: rows of both are stored once, the clone is named."""
    common = write_rows(site.folder / "common.csv", 300, proof.seed)
    files = [write_rows(site.folder / f"{name}.csv", 2000, proof.seed + k) for k, name in enumerate("ab", 1)]
    agent = site.add_agent("twin-1", [stream(common)], frame=_FRAME)
    finish(agent)
    folder = site.folder / "clone"
    shutil.copytree(agent.state, folder / "state")
    streams = [[stream(common), stream(path, speed=1000.0, name=path.stem)] for path in files]
    agent.rewrite({"stream": streams[0]})
    document = agent.document | {"stream": streams[1], "state": str(folder / "state")}
    document["link"] = [{"protocol": "coap", "host": "127.0.0.1", "port": site.cloud.coap_port}]
    clone = Agent("twin-1", folder, document)
    try:
        for one in (agent, clone):
            one.start("--until-drained")
        for one in (agent, clone):
            one.result(120)
    finally:
        clone.kill()
    found = [stored(site, agent, path, path.stem) for path in files]
    old, lane = stored(site, agent, common), ledger(site, agent.device)
    proof.says(n=1, result=f"{found[0]}; clone {found[1]}; alarms {lane['alarms']}, verdict {lane['verdict']}")
    assert all(one.equal for one in found), found
    assert old.equal, old
    assert _FORK & lane["alarms"].keys(), lane


def test_a_restored_journal_names_the_hole_and_stores_what_is_new(site: Site, proof: Proof) -> None:
    """The cloud's journal restored from an older copy: the ledger counts what it has forgotten, to the row."""
    source = write_rows(site.folder / "rows.csv", 300, proof.seed)
    agent = site.add_agent("honest-1", [stream(source)], frame=_FRAME)
    finish(agent)
    site.cloud.kill()
    copy_files(site.cloud.state, site.folder / "older", "journal.db")
    site.cloud.start()
    write_rows(source, 1300, proof.seed)
    finish(agent)
    assert ledger(site, agent.device)["verdict"] == "complete"
    site.cloud.kill()
    for path in site.cloud.state.glob("journal.db*"):
        path.unlink()
    copy_files(site.folder / "older", site.cloud.state, "journal.db")
    site.cloud.start()
    write_rows(source, 2300, proof.seed)
    finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=1, result=f"{found}; ledger {lane['verdict']} {lane['missing_by_reason']}")
    assert found.missing == list(range(300, 1300))
    assert not found.twice
    assert not found.wrong
    assert lane["missing_by_reason"] == {"forgotten": 1000}, lane
    assert frames_waiting(agent) == 0

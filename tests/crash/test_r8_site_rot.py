"""R8 through the real programs: rot in an agent's spool, in the cloud's journal, and a frame that kills its reader."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from crash_bench import flip
from crash_kit import Proof, campaign
from crash_rows import stream, write_rows
from crash_site import finish, frames_waiting, ledger, patch, stored

from trueline_cloud.storage.reader import JournalReader
from trueline_sim.children import wait_until
from trueline_sim.processes import Child, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FRAME = {"rows_max": 20, "interval_s": 0.05}
_ROWS = 1000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def _backlog(site: Site, device: str, source: Path) -> None:
    """A killed agent with a whole file in its spool, of which the cloud knows nothing."""
    site.cloud.kill()
    agent = site.add_agent(device, [stream(source)], frame=_FRAME)
    agent.start()
    wait_until(lambda: frames_waiting(agent) > _ROWS // _FRAME["rows_max"], "a backlog", 60.0)
    agent.kill()
    site.cloud.start()


def test_an_agent_with_a_rotten_spool_sends_the_rest_and_says_the_loss(site: Site, proof: Proof) -> None:
    """A bit flips in the spool of a real agent: it starts, delivers, and the ledger has what is missing to the row."""
    n, rng = max(2, campaign(20)), proof.rng()
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    lost = 0
    for trial in range(n):
        device = f"rotten-{trial}"
        _backlog(site, device, source)
        agent = site.agents[device]
        names = [path for path in agent.state.glob("spool.db*") if path.suffix != ".db-shm"]
        path = rng.choices(names, [path.stat().st_size for path in names])[0]
        where = f"trial {trial}, byte {flip(path, rng)} of {path.name}"
        finish(agent)
        found, lane = stored(site, agent, source), ledger(site, device)
        assert not found.wrong, where
        assert len(found.missing) == lane["rows_missing"], (where, found, lane)
        assert len(found.missing) <= _FRAME["rows_max"], (where, found)
        assert not found.twice, (where, found)
        lost += len(found.missing)
    proof.says(n=n, result=f"all started at once, {lost} rows lost in all, each of them in the ledger")


def test_a_spool_that_is_no_database_is_set_aside(site: Site, proof: Proof) -> None:
    """The first half of the spool's file is overwritten: the agent starts, sets it aside, says so, and goes on."""
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    _backlog(site, "ruined-1", source)
    agent = site.agents["ruined-1"]
    for path in agent.state.glob("spool.db-*"):
        path.unlink()
    data = bytearray((agent.state / "spool.db").read_bytes())
    data[: len(data) // 2] = proof.rng().randbytes(len(data) // 2)
    (agent.state / "spool.db").write_bytes(data)
    write_rows(source, _ROWS, proof.seed)
    finish(agent)
    found = stored(site, agent, source)
    aside = sorted(path.name for path in agent.state.glob("spool.db.corrupt-*"))
    proof.says(n=1, result=f"set aside as {aside}; {found}")
    assert aside
    assert "the spool was damaged" in agent.log.read_text()
    assert not found.wrong
    assert not found.missing  # the source is a file, and is read again from where the spool still knew


def test_verify_finds_a_flipped_bit_in_a_stored_frame(site: Site, proof: Proof) -> None:
    """`ledger --verify` passes on a whole journal, and names a stored frame in which one bit has flipped."""
    rng = proof.rng()
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    agent = site.add_agent("stored-1", [stream(source)], frame=_FRAME)
    finish(agent)
    site.cloud.stop()
    command = ["ledger", "--verify", "--json", "--config", str(site.cloud.config)]
    assert json.loads(site.cloud.command(*command))["ok"]
    journal = site.cloud.state / "journal.db"
    reader = JournalReader(site.cloud.state)
    message = rng.choice(list(reader.frames())).message
    reader.close()
    at = rng.randrange(100, len(message))  # with what stands around it, so that no other frame is hit
    flipped = message[:at] + bytes([message[at] ^ 1 << rng.randrange(8)]) + message[at + 1 :]
    journal.write_bytes(journal.read_bytes().replace(message, flipped))
    found = json.loads(site.cloud.command(*command, codes=(1,)))
    proof.says(n=1, result=str(found["verification"]["findings"]))
    assert not found["ok"]
    assert found["verification"]["findings"]


def test_a_frame_that_kills_the_cloud_twice_is_put_aside(site: Site, proof: Proof) -> None:
    """A frame whose decoding kills the process: at the third start it is quarantined unread, and the rest is stored."""
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    agent = site.add_agent("poison-1", [stream(source)], frame=_FRAME)
    site.cloud.kill()
    patch(site.cloud, "die-at-frame-5")
    deaths = 0
    while deaths < 2:
        Child.start(site.cloud)
        agent.kill()
        agent.start()
        assert site.cloud.wait(60.0) == -9
        deaths += 1
    site.cloud.start()
    finish(agent)
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=deaths, result=f"{found}; quarantined {lane['rows_quarantined']}")
    assert site.cloud.alive
    assert lane["rows_quarantined"] == len(found.missing) == _FRAME["rows_max"], (found, lane)
    assert not found.twice

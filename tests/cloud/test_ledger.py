"""What the ledger's table, its JSON and its proof promise."""

from __future__ import annotations

import json
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest
from cloud_kit import Machine

from trueline_cloud import ledger as room
from trueline_cloud.ingest.trust import Devices, enroll
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.keys import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_cloud.storage.store import LaneLedger


def fill(folder: Path, *, gap: bool = False) -> Machine:
    """A journal with one lane of three frames, and a gap if it is wished for."""
    machine = Machine()
    enroll(folder / "devices", machine.name, machine.key.public_text)
    with closing(Journal(folder / "journal.db")) as journal:
        group = machine.group(*(machine.readings() for _ in range(3)))
        if gap:
            group.gaps.append((machine.gap(2, 1234), 1234))
            group.lanes = {key: (0, machine.state(1)) for key in group.lanes}
        journal.commit(group)
    return machine


def prove(folder: Path) -> tuple[list[LaneLedger], room.Verification]:
    with closing(JournalReader(folder)) as reader:
        lanes = reader.ledger()
        return lanes, room.verify(reader, lanes, Devices(folder / "devices"))


def test_proof(tmp_path: Path) -> None:
    """A journal nobody touched proves itself: every frame verified, every sum agrees."""
    fill(tmp_path)
    lanes, proof = prove(tmp_path)
    assert (proof.frames, proof.rows, proof.findings) == (3, 30, [])
    assert room.is_whole(lanes)
    table = room.as_table(lanes, proof)
    assert "pump-7  data  complete      30" in table
    assert "every signature and sum agrees" in table


TAMPERED = {
    "a frame is gone": "DELETE FROM frames WHERE number = 3",
    "a frame is there under another number": "UPDATE frames SET number = 9 WHERE number = 3",
    "a count was raised": "UPDATE lanes SET rows_stored = 31",
    "rows of a frame": "UPDATE frames SET stored = 11 WHERE number = 3",
    "wiped bytes": "UPDATE frames SET message = zeroblob(length(message)) WHERE number = 3",
    "a forged frame": "UPDATE frames SET checksum = {checksum}, message = {message} WHERE number = 3",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found(tmp_path: Path, what: str) -> None:
    """Whatever is changed in the journal behind its back is found, and named."""
    machine = fill(tmp_path)
    forger = Machine(seed=1)
    forger.key = SigningKey(bytes([7] * 32))
    message = forger.frame(machine.readings())
    values = {"checksum": zlib.crc32(message), "message": f"x'{message.hex()}'"}
    database = apsw.Connection(str(tmp_path / "journal.db"))
    database.execute(TAMPERED[what].format(**values))
    assert database.changes() == 1
    database.close()
    _, proof = prove(tmp_path)
    assert proof.findings
    assert "Does not agree" in room.as_table([], proof)


def test_missing_is_said_in_words(tmp_path: Path) -> None:
    """What is missing is named with its reason and its count, for people and for scripts."""
    fill(tmp_path, gap=True)
    lanes, proof = prove(tmp_path)
    assert proof.findings == []
    assert not room.is_whole(lanes)
    assert "pump-7 data: 1,234 rows missing, dropped" in room.as_table(lanes, None)
    document = json.loads(room.as_json(lanes, proof))
    assert (document["ok"], document["rows_missing"], document["rows_stored"]) == (False, 1234, 30)
    assert document["lanes"][0]["missing_by_reason"] == {"dropped": 1234}
    assert document["verification"]["frames"] == 3


def test_everything_is_said(tmp_path: Path) -> None:
    """Orphaned tails, thinned rows, losses before the spool and alarms are each said in a line of their own."""
    fill(tmp_path)
    lanes, _ = prove(tmp_path)
    odd = msgspec.structs.replace(
        lanes[0],
        verdict="orphaned",
        rows_orphaned=5,
        rows_thinned=6,
        lost_before_spool={"source_overrun": 7, "insignificant": 8},
        alarms={"restored_or_cloned": 1},
    )
    table = room.as_table([odd], None)
    for word in (
        "5 rows in tails",
        "6 rows thinned",
        "7 rows lost before the spool, source_overrun",
        "8 rows left out by the device, within the error bounds",
        "restored_or_cloned",
    ):
        assert word in table
    assert not room.is_whole([odd])
    assert room.as_table([], None).endswith("0 rows stored. Lanes: no lanes yet.")


def test_findings_are_bounded() -> None:
    """A journal that is all wrong does not fill the screen."""
    proof = room.Verification()
    for number in range(250):
        proof.find(str(number))
    assert (len(proof.findings), proof.findings_more) == (100, 150)
    assert "150 more" in room.as_table([], proof)

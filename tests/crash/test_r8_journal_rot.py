"""R8 at the cloud: bits flip in the journal, or its end is cut off. Nothing false is ever handed out."""

from __future__ import annotations

import json
import shutil
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from crash_bench import (
    DEVICE,
    SCHEMA,
    CloudSide,
    Device,
    copy_files,
    drain,
    flip,
    sizes,
    trusted,
    value_of,
)
from crash_kit import Proof, campaign

from trueline_cloud.ledger import verify
from trueline_cloud.storage import reader as reader_module
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.errors import TruelineError

if TYPE_CHECKING:
    from pathlib import Path

_FRAMES = 40


@pytest.fixture
def golden(tmp_path: Path, proof: Proof) -> list[Path]:
    """Two journals: one closed in order, one as kill -9 leaves it, all of it still in its log."""
    rng = proof.rng("golden")
    device, cloud = Device(tmp_path / "device", rng), CloudSide(tmp_path / "closed")
    for rows in sizes(rng, _FRAMES):
        device.measure(rows)
    assert drain(device, cloud)
    device.spool.close(clean=True)
    copy_files(tmp_path / "closed", tmp_path / "killed", "journal.db")
    cloud.journal.close()
    return [tmp_path / "closed", tmp_path / "killed"]


def _look(folder: Path) -> tuple[list[Any], list[str], Counter[int]]:
    """Stored frames, what `ledger --verify` finds, and the rows an export would give (wrong ones under -1)."""
    findings: list[str] = []
    frames: list[Any] = []
    rows: Counter[int] = Counter()
    reader = None
    try:
        reader = JournalReader(folder, findings.append)
        frames = list(reader.frames())
        for batch in reader.readings(DEVICE, SCHEMA.stream, 0, 1 << 62):
            for number, x in batch.value.tolist():
                rows[int(number) if value_of(int(number)) == x else -1] += 1
        findings += verify(reader, reader.ledger(), trusted()).findings
    except (TruelineError, apsw.Error, KeyError, ValueError) as error:
        findings.append(repr(error))
    finally:
        if reader is not None:
            reader.close()
    return frames, findings, rows


def test_a_flipped_bit_in_the_journal_never_becomes_a_reading_and_verify_finds_it(
    golden: list[Path], tmp_path: Path, proof: Proof
) -> None:
    """One flipped bit anywhere in the journal: every damaged frame is found, and no reading comes out wrong."""
    n, rng = campaign(200), proof.rng()
    whole = [_look(folder) for folder in golden]
    assert not whole[0][1]
    damaged = found = harmless = 0
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[trial % 2], folder, "journal.db")
        names = sorted(folder.iterdir())
        path = rng.choices(names, [path.stat().st_size for path in names])[0]
        offset = flip(path, rng)
        frames, findings, rows = _look(folder)
        where = f"trial {trial}, byte {offset} of {path.name}: {findings[:2]}"
        assert rows[-1] == 0, where
        assert max(rows.values(), default=0) <= 1, where
        changed = sum(one != other for one, other in zip(frames, whole[0][0], strict=False))
        if changed or len(frames) != len(whole[0][0]) or +rows != +whole[0][2]:
            damaged += 1
            # A log cut short by a flipped bit is a journal of a moment ago: whole in itself, and its devices will say
            # what it has forgotten. Anything else has to be found here.
            shorter = path.suffix == ".db-wal" and frames == whole[0][0][: len(frames)]
            assert findings or shorter, where
        found += bool(findings)
        harmless += not findings
        shutil.rmtree(folder)
    proof.says(n=n, result=f"{damaged} flips damaged what is read, all found; {found} found in all; 0 rows wrong")


def test_a_cut_off_journal_is_said(golden: list[Path], tmp_path: Path, proof: Proof) -> None:
    """A journal file cut off anywhere is found by `--verify`, and no reading comes out wrong."""
    n, rng = campaign(50), proof.rng()
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[0], folder, "journal.db")
        path = folder / "journal.db"
        size = rng.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.truncate(size)
        _, findings, rows = _look(folder)
        assert findings, f"trial {trial}, cut to {size}"
        assert rows[-1] == 0
        shutil.rmtree(folder)
    proof.says(n=n, result="all found, 0 rows wrong")


def test_a_cloud_on_a_rotten_journal_stores_and_says_or_stops_and_says(
    golden: list[Path], tmp_path: Path, proof: Proof
) -> None:
    """A cloud on a damaged journal goes on and stores, or stops with a word: it never acknowledges what it lost."""
    n, rng = campaign(100), proof.rng()
    outcomes: Counter[str] = Counter()
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[trial % 2], folder, "journal.db")
        names = sorted(folder.iterdir())
        path = rng.choices(names, [path.stat().st_size for path in names])[0]
        where = f"trial {trial}, byte {flip(path, rng)} of {path.name}"
        shutil.copytree(tmp_path / "device", folder / "device")
        device = Device(folder / "device", rng)
        first = device.next_row
        device.measure(50)
        try:
            cloud = CloudSide(folder)
            drained = drain(device, cloud)
            cloud.journal.close()
        except TruelineError as error:
            outcomes[f"stopped: {type(error).__name__}"] += 1
            assert not device.sender.drained, where
        else:
            outcomes["went on"] += 1
            assert drained, where
            _, findings, rows = _look(folder)
            assert findings or all(rows[number] == 1 for number in range(first, first + 50)), (where, findings)
        device.spool.close(clean=True)
        shutil.rmtree(folder)
    proof.says(n=n, result=json.dumps(outcomes))


def test_without_checksum_and_signature_a_flipped_bit_becomes_a_reading(
    golden: list[Path], tmp_path: Path, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: without the checksum, flipped bits in stored frames come out as wrong readings."""
    monkeypatch.setattr(
        reader_module, "zlib", type("NoChecks", (), {"crc32": lambda message: _Fine(zlib.crc32(message))})
    )
    n, rng = campaign(200), proof.rng()
    wrong = 0
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[0], folder, "journal.db")
        flip(folder / "journal.db", rng)
        _, _, rows = _look(folder)
        wrong += rows[-1] > 0
        shutil.rmtree(folder)
    assert wrong
    proof.says(control=f"checksum off: {wrong} of {n} flips came out as wrong readings")


class _Fine(int):
    """A checksum that is never another."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__

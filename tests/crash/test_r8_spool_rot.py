"""R8 at the edge: bits flip in the spool, or its end is cut off."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from crash_bench import CloudSide, Device, copy_files, drain, flip, sizes
from crash_kit import Proof, campaign

from trueline_cloud.storage.reader import JournalReader
from trueline_edge.spool import records, sqlite
from trueline_wire.envelope import Lane
from trueline_wire.errors import SpoolUnsafe

if TYPE_CHECKING:
    from pathlib import Path

_FRAMES = 40


@pytest.fixture
def golden(tmp_path: Path, proof: Proof) -> list[Path]:
    """Two spools with a backlog: one closed in order, one as kill -9 leaves it, most of it still in its log."""
    rng = proof.rng("golden")
    folder = tmp_path / "whole"
    device = Device(folder, rng)
    for rows in sizes(rng, _FRAMES // 2):
        device.measure(rows)
    device.spool.close(clean=False)
    device = Device(folder, rng)
    for rows in sizes(rng, _FRAMES // 2):
        device.measure(rows)
    killed = tmp_path / "killed"
    copy_files(folder, killed, "spool.db")
    device.spool.close(clean=True)
    return [folder, killed]


@dataclass
class Outcome:
    """What became of one damaged spool."""

    salvaged: bool
    drained: bool
    frames_lost: int
    rows_lost: int
    explained: int
    twice: int
    wrong: int
    not_authentic: int


def _live_again(folder: Path, cloud_folder: Path, rng: random.Random, frames: list[tuple[int, int]]) -> Outcome:
    """Start on a damaged spool, go on measuring from where it says it stands, drain, and count."""
    device, cloud = Device(folder, rng), CloudSide(cloud_folder)
    try:
        return _live(device, cloud, cloud_folder, frames)
    finally:
        device.spool.close(clean=True)
        cloud.journal.close()


def _live(device: Device, cloud: CloudSide, cloud_folder: Path, frames: list[tuple[int, int]]) -> Outcome:
    salvaged = device.spool.salvage is not None
    end = frames[-1][0] + frames[-1][1] + 10
    while device.next_row < end:
        device.measure(min(200, end - device.next_row))
    drained = drain(device, cloud)
    stored = cloud.rows()
    ledger = next((lane for lane in JournalReader(cloud_folder).ledger() if lane.lane == "data"), None)
    missing = [number for number in range(end) if not stored[number]]
    return Outcome(
        salvaged=salvaged,
        drained=drained,
        frames_lost=sum(any(not stored[n] for n in range(first, first + rows)) for first, rows in frames),
        rows_lost=len(missing),
        explained=ledger.rows_missing + ledger.rows_quarantined if ledger else 0,
        twice=sum(times > 1 for number, times in stored.items() if number >= 0),
        wrong=stored[-1],
        not_authentic=cloud.receiver.counts.not_authentic,
    )


def test_a_flipped_bit_costs_at_most_one_frame_and_is_always_said(
    golden: list[Path], tmp_path: Path, proof: Proof
) -> None:
    """One flipped bit anywhere in the spool or its log costs at most one frame, and the ledger has it to the row."""
    n, rng = campaign(200), proof.rng()
    frames = _frames(golden[0], tmp_path)
    lost: Counter[int] = Counter()
    salvaged = 0
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[trial % 2], folder, "spool.db")
        names = [path for path in (folder / "spool.db", folder / "spool.db-wal") if path.exists()]
        path = rng.choices(names, [path.stat().st_size for path in names])[0]
        offset = flip(path, rng)
        got = _live_again(folder, folder / "cloud", random.Random(f"{proof.seed} {trial}"), frames)
        where = f"trial {trial}, byte {offset} of {path.name}: {got}"
        assert got.drained, where
        assert got.wrong == got.twice == got.not_authentic == 0, where
        assert got.rows_lost == got.explained, where
        assert got.frames_lost <= 1, where
        lost[got.frames_lost] += 1
        salvaged += got.salvaged
        shutil.rmtree(folder)
    proof.says(n=n, result=f"frames lost per flip {dict(lost)}, {salvaged} databases carved, 0 wrong, 0 unexplained")


def test_a_truncated_spool_is_set_aside_and_said(golden: list[Path], tmp_path: Path, proof: Proof) -> None:
    """A spool cut off anywhere: at most one restart, then it is set aside and said, and what proves itself is sent."""
    n, rng = campaign(100), proof.rng()
    frames = _frames(golden[0], tmp_path)
    kept = said = restarts = 0
    for trial in range(n):
        folder = tmp_path / f"trial{trial}"
        copy_files(golden[trial % 2], folder, "spool.db")
        names = [path for path in (folder / "spool.db", folder / "spool.db-wal") if path.exists()]
        path = rng.choice(names)
        size = rng.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.truncate(size)
        try:
            got = _live_again(folder, folder / "cloud", random.Random(f"{proof.seed} {trial}"), frames)
        except SpoolUnsafe:  # what is cut off was needed later: once, and the next start knows
            restarts += 1
            got = _live_again(folder, folder / "cloud", random.Random(f"{proof.seed} {trial} again"), frames)
        where = f"trial {trial}, {path.name} cut to {size}: {got}"
        assert got.drained, where
        assert got.wrong == got.not_authentic == 0, where
        said += got.salvaged
        kept += got.rows_lost == 0
        shutil.rmtree(folder)
    proof.says(n=n, result=f"0 wrong, {said} set aside and said, {kept} without any loss, {restarts} restarts")


def test_without_digests_a_flipped_payload_goes_out_and_only_the_signature_stops_it(
    golden: list[Path], tmp_path: Path, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: without the spool's digests, damaged frames are sent, and only the cloud's check stops them."""

    class Anything(bytes):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = bytes.__hash__

    folder = tmp_path / "trial"
    copy_files(golden[0], folder, "spool.db")
    device = Device(folder, proof.rng())
    rows = device.spool.rows(Lane.DATA, device.spool.epochs(Lane.DATA)[0].epoch, 5, 1)
    device.spool.close(clean=True)
    body = rows[0].message or b""
    data, old = (folder / "spool.db").read_bytes(), body[40:80]
    new = old[:20] + bytes([old[20] ^ 4]) + old[21:]
    (folder / "spool.db").write_bytes(data.replace(old, new))
    monkeypatch.setattr(records, "digest_of", lambda _label, _body: Anything())
    device, cloud = Device(folder, proof.rng()), CloudSide(tmp_path / "cloud")
    assert not drain(device, cloud, steps_max=300)
    assert cloud.receiver.counts.not_authentic > 0
    proof.says(control=f"digest check off: lane stuck, {cloud.receiver.counts.not_authentic} frames refused unsigned")


def _frames(whole: Path, tmp_path: Path) -> list[tuple[int, int]]:
    """(first row, rows) of each frame in the golden spool."""
    folder = tmp_path / "look"
    copy_files(whole, folder, "spool.db")
    spool = sqlite.SqliteSpool(folder)
    frames, first = [], 0
    for epoch in spool.epochs(Lane.DATA):
        for row in spool.rows(Lane.DATA, epoch.epoch, 1, 10_000):
            if row.rows:
                frames.append((first, row.rows))
                first += row.rows
    spool.close(clean=True)
    return frames

"""`spool show` and `spool export`: what waits, looked at from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trueline_edge.spool.commands import export, show
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_wire.delivery import SpoolRow
from trueline_wire.envelope import Lane
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = b"epoch..."


def fill(folder: Path) -> SqliteSpool:
    spool = SqliteSpool(folder)
    spool.append([SpoolRow(Lane.DATA, EPOCH, 1, 1, 0, 0, b"open")], [], None)
    spool.append([SpoolRow(Lane.DATA, EPOCH, n, n, 10, 10 * (n - 1), b"m" * n) for n in (2, 3, 4)], [], None)
    spool.append([SpoolRow(Lane.EVENT, b"events..", 1, 1, 0, 0, b"event")], [], None)
    spool.delete(Lane.DATA, EPOCH, 2)
    return spool


def test_shows_what_waits_beside_a_working_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames, rows, bytes and the oldest of each lane, while another process holds the spool open."""
    spool = fill(tmp_path)
    assert show(tmp_path, as_json=True) == 0
    seen = json.loads(capsys.readouterr().out)
    data, event = seen["lanes"]
    assert data == {"lane": "data", "epochs": 1, "frames": 2, "rows": 20, "bytes": 7, "oldest": [EPOCH.hex(), 3]}
    assert event["frames"] == 1
    assert seen["quarantined"] == 0
    assert show(tmp_path, as_json=False) == 0
    assert "data" in capsys.readouterr().out
    spool.append([SpoolRow(Lane.DATA, EPOCH, 5, 5, 10, 40, b"more")], [], None)
    spool.close(clean=True)


def test_exports_whole_messages_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each message that waits comes out behind its length, data before events."""
    fill(tmp_path).close(clean=False)
    out = tmp_path / "out.bin"
    assert export(tmp_path, out) == 0
    assert out.read_bytes() == b"\0\0\0\3mmm\0\0\0\4mmmm\0\0\0\5event"
    assert "3 messages" in capsys.readouterr().out


def test_says_where_there_is_nothing(tmp_path: Path) -> None:
    """A folder without a spool is a mistake to be named, not an empty answer."""
    with pytest.raises(ConfigError, match="no spool in"):
        show(tmp_path, as_json=True)
    (tmp_path / "spool.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(ConfigError, match="mends it at its next start"):
        show(tmp_path, as_json=True)

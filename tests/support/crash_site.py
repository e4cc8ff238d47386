"""Real agents that are killed, and how one knows that they are ready: they tell the service manager, which is us."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from crash_rows import Comparison, compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_sim.processes import Agent, Site

PATCHED = Path(__file__).with_name("crash_patched.py")
"""Runs one of the programs with a protection taken out."""


class ReadySocket:
    """Hears READY=1, as systemd would.

    Args:
        folder: where the socket is; its path has to be short.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))

    def start(self, agent: Agent, *more: str, timeout_s: float = 30.0) -> float:
        """Start an agent; seconds until it said that it is ready."""
        self.begin(agent, *more)
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            if self.heard(0.1):
                return time.monotonic() - began
            if not agent.alive:
                raise agent.error("ended before it was ready")
        raise agent.error("was not ready")

    def begin(self, agent: Agent, *more: str) -> None:
        """Start an agent and do not wait."""
        while self.heard(0.0):  # of those who are gone
            pass
        agent.environment["NOTIFY_SOCKET"] = str(self._path)
        agent.start(*more)

    def heard(self, timeout_s: float) -> bool:
        """Whether READY=1 comes within this time."""
        self._socket.settimeout(timeout_s or 1e-6)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            return self._socket.recv(100).startswith(b"READY=1")
        return False

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def ready_socket() -> Iterator[ReadySocket]:
    """In a folder of its own, because the path of a socket is short."""
    import tempfile  # noqa: PLC0415 - here alone

    with tempfile.TemporaryDirectory(prefix="tl") as folder:
        found = ReadySocket(Path(folder))
        try:
            yield found
        finally:
            found.close()


def finish(agent: Agent, timeout_s: float = 240.0) -> dict[str, Any]:
    """Let an agent read its file to the end, flat out, and deliver everything; what it says of itself."""
    agent.kill()
    for stream in agent.document["stream"]:
        stream["source"]["speed"] = "flat_out"
    agent.rewrite({})
    agent.start("--until-drained")
    return agent.result(timeout_s)


def stored(site: Site, agent: Agent, source: Path, stream: str = "rows") -> Comparison:
    """What the site has stored of an agent's file, beside the file."""
    return compare(source, site.export(agent.device, stream, site.folder / f"{agent.device}.csv"))


def ledger(site: Site, device: str, lane: str = "data") -> dict[str, Any]:
    """One lane's ledger."""
    return next(entry for entry in site.ledger(device) if entry["lane"] == lane)


def frames_waiting(agent: Agent) -> int:
    """Records in an agent's spool, read beside it; 0 while it is being made."""
    path = agent.state / "spool.db"
    if not path.exists():
        return 0
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(2000)
    try:
        return int(connection.execute("SELECT count(*) FROM record").get)
    except apsw.SQLError:
        return 0
    finally:
        connection.close()


def patch(child: Any, how: str) -> None:
    """From its next start on, a child runs with a protection taken out (see `crash_patched.py`)."""
    at = child.argv.index("-m")
    child.argv[at : at + 2] = [str(PATCHED), how, child.argv[at + 1]]
    assert child.argv[0] == sys.executable or "strace" in child.argv[0]

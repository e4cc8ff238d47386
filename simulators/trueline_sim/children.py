"""Child processes that never outlive us, and say why they failed.

Promises: a `Child` is gone when its starter is gone, however that ended; an error about a child carries the end of what
it wrote. Refuses to know what a child does.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Child", "ChildError", "free_port", "port_answers", "run_to_end", "wait_until"]

_POLL_S: Final = 0.02
_LOG_TAIL_BYTES: Final = 4000
_PR_SET_PDEATHSIG: Final = 1
_PORTS: Final = (10_000, 32_000)  # Linux gives those from 32,768 on to outgoing connections


class ChildError(Exception):
    """A child did not do what was asked of it. The message carries the end of its log."""


def free_port() -> int:
    """A port of the loopback that was free a moment ago, for TCP and for UDP.

    Not one of those the system gives to outgoing connections: one of them could take it before the server does.
    """
    while True:
        port = random.SystemRandom().randrange(*_PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                probes.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            return port


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def wait_until(true: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Return once `true()` says so.

    Raises:
        TimeoutError: it does not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(_POLL_S)


def _die_with_parent() -> None:
    # Linux: kill the child when the thread that started it ends. So start children from a thread that stays.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_alive: Final[weakref.WeakSet[Child]] = weakref.WeakSet()


@atexit.register
def _kill_all() -> None:
    for child in list(_alive):
        child.kill()


class Child:
    """One program, started, stopped, killed and started again. Its output goes to files in a folder.

    Args:
        name: for messages and file names: `<name>.out` holds stdout of the last run, `<name>.log` stderr of all runs.
        argv: the command.
        folder: where the files go, and the working directory.
    """

    def __init__(self, name: str, argv: Sequence[str], folder: Path) -> None:
        self.name: Final = name
        self.argv: Final = list(argv)
        self.folder: Final = folder
        self.environment: dict[str, str] = {}
        """Added to our own environment at the next start (crash points, clocks)."""
        self.out: Final = folder / f"{name}.out"
        self.log: Final = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            ChildError: it was never started.
        """
        return self._started.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` says it: negative for a signal; None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ChildError(f"{self.name} was not started")
        return self._process

    def start(self, *more: str) -> None:
        """Start it, in a process group of its own.

        Args:
            more: arguments for this run alone.

        Raises:
            ChildError: it runs already.
        """
        if self.alive:
            raise ChildError(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.out.open("wb") as out, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.argv, *more],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                process_group=0,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one C call
            )
        _alive.add(self)

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.alive:
            self._started.send_signal(number)

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, and wait.

        Returns:
            Its exit code.

        Raises:
            ChildError: it was still there after `timeout_s` (it is killed then).
        """
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to its whole group, and wait until it is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end.

        Raises:
            ChildError: it did not end within `timeout_s` (it is killed then).
        """
        try:
            return self._started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"did not end within {timeout_s:g} s and was killed") from None

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until `ready()`.

        Raises:
            ChildError: it ended first, or `timeout_s` passed.
        """
        try:
            wait_until(lambda: ready() or not self.alive, f"{self.name} ready", timeout_s)
        except TimeoutError:
            raise self.error(f"was not ready within {timeout_s:g} s") from None
        if not self.alive:
            raise self.error(f"ended with exit code {self.exit_code} before it was ready")

    def last_line(self) -> str:
        """The last line it wrote to stdout in this run; "" if none."""
        lines = self.out.read_text(errors="replace").splitlines() if self.out.exists() else []
        return lines[-1] if lines else ""

    def error(self, what: str) -> ChildError:
        """An error about this child, with the end of its log."""
        return ChildError(f"{self.name} {what}\n  command: {' '.join(self.argv)}\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote to stderr and stdout."""
        parts = []
        for path in (self.log, self.out):
            text = path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() if path.exists() else ""
            if text:
                parts.append(f"  ---- end of {path.name}\n{text}")
        return "\n".join(parts) or "  (it wrote nothing)"


def run_to_end(
    argv: Sequence[str],
    *,
    folder: Path,
    timeout_s: float = 120.0,
    codes: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and give back its stdout.

    Raises:
        ChildError: its exit code is not one of `codes`, or it took longer than `timeout_s`.
    """
    command = " ".join(argv)
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"took longer than {timeout_s:g} s: {command}") from None
    if done.returncode not in codes:
        raise ChildError(f"exit code {done.returncode}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout

"""Disks that are small or break their word: a tmpfs of a few megabytes, and `strace` that lets system calls fail."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trueline_sim.children import Child


@dataclass(frozen=True)
class SmallDisk:
    """A folder with little room below it."""

    folder: Path

    @property
    def filler(self) -> Path:
        """The file that takes the room away."""
        return self.folder / "filler"

    @property
    def free_bytes(self) -> int:
        """Room left."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all room but this."""
        descriptor = os.open(self.filler, os.O_WRONLY | os.O_CREAT)
        try:
            while (room := self.free_bytes - leave_bytes) > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, room)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give it back."""
        self.filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A tmpfs of this size, which must not be larger, mounted on the folder; skips where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount a tmpfs (root)")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


def needs_strace() -> str:
    """Its path; skips where it is missing or may not trace."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    if subprocess.run([path, "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here (ptrace is not allowed)")
    return path


class Injection:
    """A child whose system calls fail as told, from its next start on until `lift`.

    Args:
        child: its command line is changed.
        inject: what strace is told, e.g. "fsync,fdatasync:error=EIO:when=3+"; several are tried in order.
        log: where strace writes what it saw.
        also: further system calls to write down (with the bytes they send, in hex).
    """

    def __init__(self, child: Child, inject: Sequence[str], log: Path, also: str = "") -> None:
        strace = needs_strace()
        calls = {name for rule in inject for name in rule.split(":")[0].split(",")}
        traced = ",".join(sorted(calls | set(filter(None, also.split(",")))))
        self.log = log
        self._child = child
        self._plain = list(child.argv)
        log.unlink(missing_ok=True)
        before = [
            strace,
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-ttt",
            "-xx",
            "-s",
            "96",
            "-o",
            str(log),
            "-e",
            f"trace={traced}",
        ]
        for rule in inject:
            before += ["-e", f"inject={rule}"]
        child.argv[:] = [*before, *self._plain]

    def lift(self) -> None:
        """From the next start on, nothing fails."""
        self._child.argv[:] = self._plain

    def tracee(self) -> psutil.Process:
        """The process behind strace."""
        return psutil.Process(self._child.pid).children()[0]

    def lines(self) -> list[str]:
        """What strace saw so far."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def injected(self) -> list[int]:
        """Which of `lines` were made to fail."""
        return [position for position, line in enumerate(self.lines()) if line.rstrip().endswith("(INJECTED)")]


def terminate_tracee(injection: Injection, child: Child, timeout_s: float = 30.0) -> int:
    """SIGTERM to the process behind strace (strace itself ignores it); its exit code."""
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        injection.tracee().terminate()
    return child.wait(timeout_s)


def acks_sent(lines: Sequence[str]) -> list[int]:
    """Which lines hand an ACK ("TL", version 1, kind 6) to a socket."""
    ack = re.compile(r"\b(send|sendto|sendmsg|write|writev)\(.*\\x54\\x4c\\x01\\x06")
    return [position for position, line in enumerate(lines) if ack.search(line)]


def wait_for_line(injection: Injection, timeout_s: float) -> bool:
    """Whether a system call was made to fail within this time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if injection.injected():
            return True
        time.sleep(0.05)
    return False

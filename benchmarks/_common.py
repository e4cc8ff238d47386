"""What the benchmarks share: arguments, the machine's name, looking at a process from outside, and the way to end.

Promises: figures of a process are the kernel's own. A miss of what was asked is printed and is the exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CLOCK_HZ = os.sysconf("SC_CLK_TCK")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="one JSON object on stdout, its keys with their units")
    return made


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """Processor, cores and system, for the reader of a table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def version_of(*command: str) -> str:
    """The first line a program says about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_HZ


def rss_mb(pid: int) -> float:
    """Resident memory of a process, megabytes (10^6)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class MemoryWatch:
    """Samples a process's resident memory in a thread while the `with` lasts: `samples` of (monotonic s, MB)."""

    def __init__(self, pid: int, interval_s: float = 0.1) -> None:
        self.samples: list[tuple[float, float]] = []
        self._pid = pid
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.samples.append((time.monotonic(), rss_mb(self._pid)))
            except (FileNotFoundError, IndexError, ProcessLookupError):
                return  # it has ended

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def finish(result: dict[str, Any], misses: list[str], *, as_json: bool) -> int:
    """Print the figures, then what was missed. Returns the exit code."""
    if as_json:
        print(json.dumps({**result, "machine": machine(), "misses": misses}))
    else:
        width = max(map(len, result))
        for key, value in result.items():
            print(f"{key:{width}}  {value:,}" if isinstance(value, (int, float)) else f"{key:{width}}  {value}")
        print(f"{'machine':{width}}  {machine()}")
    for miss in misses:
        say(f"MISSED: {miss}")
    return 1 if misses else 0

"""A package is tried before it serves: in a process of its own, under limits, on its golden rows.

Promises: `try_package` returns only for a package whose signature holds, and whose detector could be made here,
answered its golden rows as its maker saw it answer, and stayed within memory and time. Whatever it does to the process
it is tried in (crash, hang, eat memory) is its refusal, and harms nobody else. A stranger's package starts no process.

The child is this module run with `python -m`; the package goes in by standard input, the findings come out as one line
of JSON on standard output. Its limits: address space, processor time, an alarm should its parent be gone, no file
written. Refuses to say that a network which passed is harmless on all other inputs; nobody can.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from trueline_model.package import open_package, read_package
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from trueline_model.detector import Detector
    from trueline_model.package import Package
    from trueline_wire.keys import Verifier

__all__ = ["Cost", "Limits", "Tried", "try_package"]

_OUTPUT_MAX: Final = 64 * 1024
_MEASURE_S: Final = 0.02
_MEASURE_ROWS: Final = 256
_START_MAX_S: Final = 60.0
"""A small device with a slow card takes its time to start Python: that is not the package's."""
_READY: Final = b"\n"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of a trial.

    Attributes:
        memory_max_bytes: address space of the process, Python and LiteRT included (some 130 MB).
        time_max_s: seconds of processor and of the wall clock.
    """

    memory_max_bytes: int = 256 * 1024 * 1024
    time_max_s: float = 5.0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes on this machine.

    Attributes:
        row_us: microseconds a row that comes alone, all included.
        batched_row_us: a row of the golden rows at once.
        memory_bytes: resident memory it adds, LiteRT itself included where it holds a network.
        size_bytes: of the package.
        runtime: version of LiteRT it was tried with; "" where it needs none.
    """

    row_us: float
    batched_row_us: float
    memory_bytes: int
    size_bytes: int
    runtime: str = ""

    def __str__(self) -> str:
        return (
            f"{self.row_us:.1f} us a row alone, {self.batched_row_us:.1f} us in a batch, "
            f"{self.memory_bytes / 1e6:.1f} MB of memory, {self.size_bytes / 1e3:.1f} kB"
        )


class Tried(NamedTuple):
    """A package that passed."""

    package: Package
    cost: Cost


class _Finding(msgspec.Struct, frozen=True):
    """What the child says."""

    reason: str
    cost: Cost | None = None


def try_package(data: bytes, verifier: Verifier, *, signer: str = "cloud", limits: Limits | None = None) -> Tried:
    """Verify a package, then try it.

    Args:
        data: the file.
        verifier: who is trusted.
        signer: who must have signed it.
        limits: see `Limits`.

    Raises:
        NotAuthentic: the signer did not sign it. Nothing of it was decoded.
        NeverRetry: it does not serve; the message says why.
    """
    package = read_package(data, verifier, signer)
    finding = _in_a_child(data, limits or Limits())
    if finding.cost is None:
        raise NeverRetry(f"{package.manifest.file_name} is refused: {finding.reason}")
    return Tried(package, finding.cost)


def _in_a_child(data: bytes, limits: Limits) -> _Finding:
    command = [sys.executable, "-m", __name__, str(limits.memory_max_bytes), str(limits.time_max_s)]
    environment = os.environ | {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }  # a pool of threads is address space
    with subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        if not _is_ready(child):
            child.kill()
            return _Finding(f"nothing can be tried here: no process was ready for it within {_START_MAX_S:g} s")
        try:
            out, _ = child.communicate(data, timeout=limits.time_max_s)
        except subprocess.TimeoutExpired:
            child.kill()
            return _Finding(f"its trial was not done after {limits.time_max_s:g} s")
    if child.returncode < 0:
        return _Finding(f"its trial was ended by {_signal_name(-child.returncode)}")
    try:
        return msgspec.json.decode(out[:_OUTPUT_MAX], type=_Finding)
    except msgspec.DecodeError:
        return _Finding(f"its trial ended with exit code {child.returncode} and without a finding")


def _is_ready(child: subprocess.Popen[bytes]) -> bool:
    """Wait for the byte with which a child says that the clock may start."""
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    waiting, _, _ = select.select([child.stdout], [], [], _START_MAX_S)
    return bool(waiting) and os.read(child.stdout.fileno(), 1) == _READY


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ---------------------------------------------------------------- in the child


def _child(memory_max_bytes: int, time_max_s: float) -> None:
    """Try the package on standard input, and say on standard output what was found."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no finding
    import trueline_edge.inference.serving  # noqa: F401, PLC0415 - on our own time, as all imports
    from trueline_edge.inference.litert import interpreter_class  # noqa: PLC0415 - as above

    start = _resident_bytes()
    with suppress(ConfigError):  # a package without a network does without
        interpreter_class()
    runtime_bytes = _resident_bytes() - start
    used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    seconds = max(1, round(time_max_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory_max_bytes, memory_max_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (round(used_s + 0.5) + seconds, round(used_s + 0.5) + seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(seconds + 1)
    os.write(answers, _READY)
    try:
        finding = _Finding("", _measured(sys.stdin.buffer.read(), runtime_bytes))
    except NeverRetry as error:
        finding = _Finding(str(error))
    except MemoryError:
        finding = _Finding(f"it wants more than {memory_max_bytes / 1e6:.0f} MB of memory")
    except Exception as error:  # noqa: BLE001 - whatever a package provokes is its refusal, here and nowhere else
        finding = _Finding(f"{type(error).__name__}: {str(error)[:200]}")
    os.write(answers, msgspec.json.encode(finding))
    os.close(answers)
    sys.stdout.flush()
    os._exit(0)  # what the package may have broken shall not run at the interpreter's end


def _measured(data: bytes, runtime_bytes: int) -> Cost:
    """Make the detector, hold it to its golden rows, and say what it costs, LiteRT's own memory included.

    Raises:
        NeverRetry: it does not do what it should.
    """
    from trueline_edge.inference.serving import rehearsed  # noqa: PLC0415 - after the limits are set
    from trueline_model.load import check_golden  # noqa: PLC0415 - as above

    package = open_package(data)
    before = _resident_bytes()
    detector = rehearsed(package)
    check_golden(detector, package.golden, package.manifest.golden_tolerance)
    memory = max(0, _resident_bytes() - before) + (runtime_bytes if package.network else 0)
    from trueline_edge.inference.litert import runtime_version  # noqa: PLC0415 - as above

    return Cost(
        row_us=_row_us(detector, package, alone=True),
        batched_row_us=_row_us(detector, package, alone=False),
        memory_bytes=memory,
        size_bytes=len(data),
        runtime=runtime_version() if package.network else "",
    )


def _row_us(detector: Detector, package: Package, *, alone: bool) -> float:
    """Microseconds a row: the best of several passes over the golden rows."""
    from time import perf_counter  # noqa: PLC0415 - as above

    value, valid = package.golden.value[:_MEASURE_ROWS], package.golden.valid[:_MEASURE_ROWS]
    step = 1 if alone else max(len(value), 1)
    best_s, end_s = float("inf"), perf_counter() + _MEASURE_S
    while True:
        state, begun_s = None, perf_counter()
        for start in range(0, len(value), step):
            state = detector.score(value[start : start + step], valid[start : start + step], state).state
        best_s = min(best_s, perf_counter() - begun_s)
        if perf_counter() >= end_s:
            return 1e6 * best_s / max(len(value), 1)


def _resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib is another import under the limits
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    _child(int(sys.argv[1]), float(sys.argv[2]))

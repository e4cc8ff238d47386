"""`trueline-edge doctor`: what this machine lacks, and the line that mends it.

Promises: looks, and changes nothing. Refuses to guess: what cannot be found out is said to be unknown.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from trueline_edge.estimation.kernels import IMPLEMENTATION
from trueline_edge.sources import JoinConfig, MqttSourceConfig, ReplayConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trueline_edge.config import AgentConfig, StreamConfig
    from trueline_edge.sources import SourceConfig

__all__ = ["Finding", "examine"]

_PYTHON_MIN: Final = (3, 11)
_SQLITE_MIN: Final = (3, 51, 3)
"""Below it two connections can hit the WAL-reset bug."""
_EXTRA: Final = 'pip install "trueline[edge]"'
_EXTRA_INFER: Final = 'pip install "trueline[edge,infer]"'
_LIBRARIES: Final = (
    ("apsw", "apsw", True, "the spool"),
    ("paho-mqtt", "paho.mqtt", True, "MQTT"),
    ("aiocoap", "aiocoap", True, "CoAP"),
    ("prometheus-client", "prometheus_client", True, "metrics"),
    ("ai-edge-litert", "ai_edge_litert", False, "a model with a network (stage `detect`)"),
    ("pyarrow", "pyarrow", False, "Parquet in `replay --out`"),
)
_CLOCK_FLOOR_NS: Final = 1_767_225_600_000_000_000
"""2026: a clock that says an earlier year has not been set."""
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512
_SPOOL_ROOM: Final = 1.25
"""The database needs so many times the bytes it holds."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        state: "ok"; "missing": the agent will not run well without it; "note": it can do without, or it is unknown.
        message: what was found.
        mend: what to do about it; "" where there is nothing to do.
    """

    name: str
    state: Literal["ok", "missing", "note"]
    message: str
    mend: str = ""


def examine(
    config: AgentConfig | None,
    folder: Path,
    *,
    version_of: Callable[[str], str | None] | None = None,
    wall_ns: Callable[[], int] = time.time_ns,
    synchronised: Callable[[], bool | None] | None = None,
) -> list[Finding]:
    """Look at everything.

    Args:
        config: what the agent is to do; None looks at the machine alone.
        folder: where the state would be, if there is no configuration.
        version_of: the version of an installed library, None where it is not there.
        wall_ns: the clock.
        synchronised: whether something keeps the clock right; None where that cannot be known.
    """
    return [
        _python(),
        *_libraries(version_of or _version_of),
        _sqlite(),
        _clock(wall_ns(), (synchronised or _kernel_says_synchronised)()),
        _disk(config.state if config else folder, config.spool.size_max_bytes if config else 0),
        *(_files(config) if config else ()),
        _systemd(),
        _kernels(),
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _PYTHON_MIN:
        return Finding(name="python", state="ok", message=version)
    return Finding(name="python", state="missing", message=version, mend="install Python 3.11 or later")


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _libraries(version_of: Callable[[str], str | None]) -> Iterator[Finding]:
    for distribution, _, needed, purpose in _LIBRARIES:
        version = version_of(distribution)
        if version is not None:
            yield Finding(name=distribution, state="ok", message=version)
        else:
            state: Literal["missing", "note"] = "missing" if needed else "note"
            mend = _EXTRA_INFER if distribution == "ai-edge-litert" else _EXTRA
            yield Finding(name=distribution, state=state, message=f"not installed; {purpose} needs it", mend=mend)


def _sqlite() -> Finding:
    if importlib.util.find_spec("apsw") is None:
        return Finding(name="sqlite", state="missing", message="unknown without apsw", mend=_EXTRA)
    import apsw  # noqa: PLC0415 - it may not be there

    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) >= _SQLITE_MIN:
        return Finding(name="sqlite", state="ok", message=f"{version}, bundled with apsw")
    wanted = ".".join(map(str, _SQLITE_MIN))
    return Finding(
        name="sqlite",
        state="missing",
        message=f"{version} can lose a write-ahead log: {wanted} or later is wanted",
        mend='pip install --upgrade "apsw>=3.51.3"',
    )


def _clock(now_ns: int, synchronised: bool | None) -> Finding:  # noqa: FBT001 - three answers, one question
    year = time.gmtime(now_ns // 1_000_000_000).tm_year
    mend = "start systemd-timesyncd or chrony, or fit a clock with a battery"
    if now_ns < _CLOCK_FLOOR_NS:
        return Finding(name="clock", state="missing", message=f"it says {year}: it has not been set", mend=mend)
    if synchronised is None:
        return Finding(name="clock", state="note", message="whether it is synchronised cannot be known here")
    if not synchronised:
        return Finding(name="clock", state="note", message="nothing keeps it synchronised", mend=mend)
    return Finding(name="clock", state="ok", message="synchronised")


def _kernel_says_synchronised() -> bool | None:
    """What adjtimex(2) answers when it is asked and told nothing."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def _disk(state: Path, wanted_bytes: int) -> Finding:
    folder = next(place for place in (state, *state.absolute().parents) if place.is_dir())
    if not os.access(folder, os.W_OK):
        return Finding(
            name="state folder", state="missing", message=f"{folder} cannot be written", mend=f"chown or chmod {folder}"
        )
    free = shutil.disk_usage(folder).free
    message = f"{free >> 20:,} MiB free at {folder}"
    if free < wanted_bytes * _SPOOL_ROOM:
        mend = f"free some space, or lower spool.size_max_bytes ({wanted_bytes:,})"
        return Finding(
            name="state folder", state="missing", message=f"{message}: less than the spool may use", mend=mend
        )
    return Finding(name="state folder", state="ok", message=message)


def _files(config: AgentConfig) -> Iterator[Finding]:
    """Files the configuration names."""
    named: list[tuple[str, Path | None]] = []
    for position, link in enumerate(config.links):
        named.append((f"link[{position}].password_file", getattr(link, "password_file", None)))
        tls = getattr(link, "tls", None)
        named.extend((f"link[{position}].tls.{key}", getattr(tls, key, None)) for key in ("ca", "certificate", "key"))
    for position, stream in enumerate(config.streams):
        for place, source in _sources(stream, f"stream[{position}].source"):
            if isinstance(source, ReplayConfig):
                named.extend((f"{place}.path", path) for path in source.files)
            if isinstance(source, MqttSourceConfig):
                named.extend((f"{place}.{key}", getattr(source, key)) for key in ("password_file", "ca"))
    for key, path in named:
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            yield Finding(name=key, state="missing", message=f"{path} cannot be read", mend="put it there")


def _sources(stream: StreamConfig, place: str) -> Iterator[tuple[str, SourceConfig]]:
    """The source of a stream, and those it joins, each with its key."""
    yield place, stream.source
    if isinstance(stream.source, JoinConfig):
        for position, each in enumerate(stream.source.inputs):
            yield f"{place}.input[{position}].source", each.source


def _kernels() -> Finding:
    if IMPLEMENTATION == "cython":
        return Finding(name="kernels", state="ok", message="compiled")
    if os.environ.get("TRUELINE_KERNELS") == "textbook":
        return Finding(name="kernels", state="note", message="textbook, as TRUELINE_KERNELS asks: slow")
    return Finding(
        name="kernels",
        state="note",
        message="textbook: filters run a hundred times slower than compiled",
        mend="apt install build-essential python3-dev, then install trueline again",
    )


def _systemd() -> Finding:
    if os.environ.get("NOTIFY_SOCKET"):
        return Finding(name="systemd", state="ok", message="listens for ready and watchdog notes")
    return Finding(name="systemd", state="note", message="no notify socket here: not started by systemd")

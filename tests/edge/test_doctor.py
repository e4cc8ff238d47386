"""`trueline-edge doctor`: what this machine lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from trueline_edge.config import AgentConfig
from trueline_edge.doctor import Finding, examine
from trueline_wire.settings import parse_toml

if TYPE_CHECKING:
    from pathlib import Path

NOW_NS = 1_800_000_000_000_000_000

CONFIG = """
device = "d"
state = "deep/down/state"
[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[link]]
protocol = "mqtt"
host = "h"
username = "u"
password_file = "secret"
tls = { ca = "ca.pem" }
[[stream]]
name = "s"
source = { type = "replay", path = "in.csv" }
[[stream.channel]]
name = "a"
"""


def found(folder: Path, config: AgentConfig | None = None, **machine: object) -> dict[str, Finding]:
    settings = {"wall_ns": lambda: NOW_NS, "synchronised": lambda: True, **machine}
    return {finding.name: finding for finding in examine(config, folder, **settings)}  # type: ignore[arg-type]


def configured(folder: Path) -> AgentConfig:
    return parse_toml(CONFIG, folder / "agent.toml", AgentConfig)


def test_this_machine_is_fit(tmp_path: Path) -> None:
    """Where the tests run, all that is needed is there."""
    findings = found(tmp_path)
    assert [f for f in findings.values() if f.state == "missing"] == []
    assert {"python", "apsw", "sqlite", "clock", "state folder", "systemd", "kernels"} <= findings.keys()


def test_a_missing_library_is_named_with_the_line_that_mends_it(tmp_path: Path) -> None:
    """Apsw is needed; pyarrow is not."""
    findings = found(tmp_path, version_of=lambda name: None if name in {"apsw", "pyarrow"} else "1")
    assert (findings["apsw"].state, findings["pyarrow"].state) == ("missing", "note")
    assert findings["apsw"].mend == 'pip install "trueline[edge]"'
    assert findings["paho-mqtt"].state == "ok"


@pytest.mark.parametrize(
    ("now_ns", "synchronised", "state"), [(0, True, "missing"), (NOW_NS, False, "note"), (NOW_NS, None, "note")]
)
def test_a_clock_that_was_never_set_is_missing(
    tmp_path: Path,
    now_ns: int,
    synchronised: bool | None,  # noqa: FBT001 - a table
    state: str,
) -> None:
    """1970 is not now; a clock nothing keeps right, or nobody knows of, is worth a note."""
    findings = found(tmp_path, wall_ns=lambda: now_ns, synchronised=lambda: synchronised)
    assert findings["clock"].state == state


def test_the_kernel_can_be_asked(tmp_path: Path) -> None:
    """The real question gives an answer, whatever it is."""
    assert {finding.name for finding in examine(None, tmp_path)} >= {"clock"}


def test_room_and_files_of_a_configuration_are_looked_at(tmp_path: Path) -> None:
    """A disk smaller than the spool may become, and files that are not there, are missing; then they are there."""
    config = configured(tmp_path)
    findings = found(tmp_path, config)
    lacking = {name for name, finding in findings.items() if finding.state == "missing"}
    assert lacking == {"link[0].password_file", "link[0].tls.ca", "stream[0].source.path"}
    assert str(tmp_path) in findings["state folder"].message
    for name in ("secret", "ca.pem", "in.csv"):
        (tmp_path / name).write_text("x")
    assert not [f for f in found(tmp_path, config).values() if f.state == "missing"]
    huge = msgspec.structs.replace(config, spool=msgspec.structs.replace(config.spool, size_max_bytes=1 << 60))
    assert found(tmp_path, huge)["state folder"].state == "missing"


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """No folder and no file is made."""
    found(tmp_path, configured(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "asked", "state", "word"),
    [("cython", "", "ok", "compiled"), ("textbook", "", "note", "slower"), ("textbook", "textbook", "note", "asks")],
)
def test_it_says_which_kernels_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str, state: str, word: str
) -> None:
    """Compiled, or the slow textbook and why."""
    monkeypatch.setattr("trueline_edge.doctor.IMPLEMENTATION", name)
    monkeypatch.setenv("TRUELINE_KERNELS", asked)
    finding = found(tmp_path)["kernels"]
    assert finding.state == state
    assert word in finding.message

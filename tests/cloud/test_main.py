"""What the command line of the cloud promises."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cloud_kit import START_NS, Machine
from hypothesis import given
from hypothesis import strategies as st
from page_kit import told

from trueline_cloud.__main__ import _CONFIG_EXAMPLE, main, parse_time
from trueline_cloud.config import load_settings
from trueline_cloud.ingest.mqtt import MqttSettings, TlsSettings
from trueline_cloud.storage.journal import Journal
from trueline_wire.errors import ConfigError
from trueline_wire.keys import parse_public_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with an enrolled machine and two frames of ten seconds each."""
    machine = Machine()
    assert main(["enroll", machine.name, machine.key.public_text, "--state", str(tmp_path)]) == 0
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.commit(machine.group(machine.readings(), machine.readings()))
    return tmp_path


def test_ledger(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ledger` ends with 0 when nothing is missing; `--json` prints one object, `--verify` counts again."""
    assert main(["ledger", "--state", str(state)]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["ledger", "--state", str(state), "--device", "pump-7", "--json", "--verify"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["rows_stored"], document["verification"]["rows"]) == (True, 20, 20)


def test_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`events` lists what detectors raised, newest first, as a table, one JSON object, or a file."""
    machine = Machine()
    first, second = told(START_NS), told(START_NS + 100 * 10**9, what="process anomaly", confidence=0.97)
    machine.schema = first.schema
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.commit(machine.group(first, second))
    asked = ["events", "--state", str(tmp_path), "--device", "pump-7"]
    assert main(asked) == 0
    _, _, newest, oldest = capsys.readouterr().out.splitlines()
    assert all(word in newest for word in ("process anomaly", "Pressure", "97%", "9 s …"))
    assert all(word in oldest for word in ("sensor fault", "Pressure", "bias_step", "90%", "1.0e-04"))
    out = tmp_path / "events.csv"
    assert main([*asked, "--json", "--limit", "1", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["more"], [one["what"] for one in document["events"]]) == (True, ["process anomaly"])
    head, row = out.read_text().splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["what"] == "process anomaly"
    assert main([*asked, "--to", str(START_NS)]) == 0
    assert capsys.readouterr().out == "no events\n"


def test_missing_ends_with_one(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ledger` ends with 1 when rows are missing, and says how many and why; so it does when the proof fails."""
    (state / "devices" / "pump-7.pub").unlink()
    assert main(["ledger", "--state", str(state), "--verify"]) == 1
    assert "no key" in capsys.readouterr().out
    other = Machine("other", seed=3)
    with closing(Journal(state / "journal.db")) as journal:
        group = other.group(other.readings())
        group.gaps.append((other.gap(1, 5), 5))
        journal.commit(group)
    assert main(["ledger", "--state", str(state)]) == 1
    assert "other data: 5 rows missing, dropped" in capsys.readouterr().out


def test_export(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`export` writes the rows of a range, and tells how many and how many twice."""
    out = tmp_path / "out.csv"
    where = ["export", "--state", str(state), "--device", "pump-7", "--stream", "valve", "--out", str(out), "--json"]
    assert main([*where, "--from", str(START_NS + 5_000_000_000), "--to", str(START_NS + 15_000_000_000)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["duplicates"]) == (10, 0)
    assert len(out.read_text().splitlines()) == 11
    assert main(where[:-1]) == 0
    assert "20 rows of pump-7/valve" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["ledger", "--device", "nobody"], "nobody"),
        (["events", "--device", "nobody"], "nobody"),
        (["events", "--limit", "0"], "--limit"),
        (["export", "--device", "nobody", "--stream", "valve", "--out", "x.csv"], "known are: pump-7"),
        (["export", "--device", "pump-7", "--stream", "nothing", "--out", "x.csv"], "it has: valve"),
        (["export", "--device", "pump-7", "--stream", "valve", "--out", "x.csv", "--from", "noon"], "not a time"),
        (["enroll", "pump-8", "no key"], "is not an Ed25519 public key"),
    ],
)
def test_mistakes_end_with_two(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    """A mistake ends with 2, and its line says what would be right."""
    assert main([*arguments, "--state", str(state)]) == 2
    assert word in capsys.readouterr().err


def test_no_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a journal, commands say what makes one."""
    assert main(["ledger", "--state", str(tmp_path)]) == 2
    assert "trueline-cloud serve" in capsys.readouterr().err


def test_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`key` prints one public key, the same each time, wherever its folder is named."""
    config = tmp_path / "cloud.toml"
    config.write_text('state = "state"\n')
    for arguments in (
        ["key", str(config)],
        ["key", "--config", str(config)],
        ["key", "--state", str(tmp_path / "state")],
    ):
        assert main(arguments) == 0
    first, *others = capsys.readouterr().out.split()
    assert others == [first, first]
    assert len(parse_public_key(first)) == 32


@pytest.mark.parametrize("arguments", [[], ["serve"], ["ledger"], ["export"], ["events"], ["key"], ["enroll"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself, its exit codes included."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    assert ("exit codes" in capsys.readouterr().out) == bool(arguments)


def test_example_in_the_help(tmp_path: Path) -> None:
    """The configuration that the help of `serve` shows is one, and every default it names is the default."""
    lines = [
        line[2:] for line in _CONFIG_EXAMPLE.splitlines() if line.startswith("  ") and not line.startswith("  ready")
    ]
    path = tmp_path / "cloud.toml"
    path.write_text("\n".join(lines))
    shown, default = load_settings(path), load_settings(None)
    assert shown.mqtt == MqttSettings(tls=TlsSettings())
    assert (shown.coap, shown.http, shown.journal) == (default.coap, default.http, default.journal)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01t01:00:00+01:00", 0),
        ("1970-01-01 00:00:00.5-00:30", 1800.5),
        ("1969-12-31T23:59:59.75Z", -0.25),
        ("1500000000", 1.5),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """Times are read as RFC 3339 has them; a day is its midnight in UTC; an integer is ns since 1970."""
    assert parse_time(text) == round(seconds * 1e9)


@given(text=st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.?\d*[Z+]", fullmatch=True))
def test_no_time(text: str) -> None:
    """A text is a time or a ConfigError, never anything else."""
    try:
        assert isinstance(parse_time(text), int)
    except ConfigError as error:
        assert "not a time" in str(error)  # noqa: PT017 - either is fine

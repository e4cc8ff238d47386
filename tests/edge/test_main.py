"""The command line of the device, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueline_edge.__main__ import main

SAMPLE = Path(__file__).parents[2] / "examples" / "agent.toml"

GOOD = """
device = "pump-7"
state = "state"
[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[link]]
protocol = "coap"
host = "127.0.0.1"
[[stream]]
name = "toy"
source = { type = "replay", path = "in.csv", time_format = "s" }
[[stream.channel]]
name = "a"
[[stream.stage]]
type = "missing"
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD)
    return path


def test_check_says_ok(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and one word; as JSON, an object without mistakes."""
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == "ok\n"
    assert main(["check", str(SAMPLE), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "file": str(SAMPLE), "mistakes": []}


def test_check_names_every_mistake(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, every mistake with line, key and hint, for people and for scripts."""
    good.write_text(GOOD.replace("[[stream.stage]]", "[[stream.stage]]\nchannel = 3").replace("coap", "cop"))
    assert main(["check", str(good)]) == 2
    text = capsys.readouterr().err
    assert "2 mistakes" in text
    assert "line 7: link[0].protocol: 'cop' is not known\n      hint: did you mean 'coap'?" in text
    assert main(["check", str(good), "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert [(m["line"], m["key"], m["hint"]) for m in report["mistakes"]] == [
        (7, "link[0].protocol", "did you mean 'coap'?"),
        (15, "stream[0].stage[0].channel", "did you mean 'channels'?"),
    ]


def test_check_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is said, in both languages."""
    assert main(["check", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "none.toml"), "--json"]) == 2
    assert "cannot be read" in json.loads(capsys.readouterr().out)["mistakes"][0]["message"]


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What an editor wants."""
    assert main(["schema"]) == 0
    assert "AgentConfig" in json.loads(capsys.readouterr().out)["$defs"]


def test_replay_writes_and_sums_up(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 with a summary; exit 1 where rows were lost; exit 2 where nothing could be done."""
    source, out = good.parent / "in.csv", good.parent / "out.csv"
    source.write_text("t,a\n1,5\n2,\n")
    assert main(["replay", str(good), str(source), "--out", str(out)]) == 0
    assert capsys.readouterr().out == (f"{out}: 2 rows, 2 values of stream toy\n  a: pass 1, missing 1  (missing 1)\n")
    source.write_text("t,a\n1,5\nx,6\n")
    assert main(["replay", str(good), str(source), "--out", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "stream": "toy",
        "out": str(out),
        "rows": 1,
        "insignificant": 0,
        "values": 1,
        "lost": {"malformed_row": 1},
        "flags": {"a": {"pass": 1}},
        "reasons": {"a": {}},
    }
    assert main(["replay", str(good), str(good), "--out", str(out)]) == 2
    assert "no column" in capsys.readouterr().err


def test_doctor_reports(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 when something is missing, 0 when nothing is."""
    assert main(["doctor", str(good)]) == 1
    assert "stream[0].source.path" in capsys.readouterr().out
    (good.parent / "in.csv").write_text("t,a\n")
    assert main(["doctor", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_key_is_made_once_and_kept_secret(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The public key is printed and stays the same; the secret one is nobody else's to read."""
    assert main(["key", str(good)]) == 0
    first = capsys.readouterr().out
    assert main(["key", str(good)]) == 0
    assert capsys.readouterr().out == first
    assert len(first) == 45
    secret = good.parent / "state" / "device.key"
    assert secret.stat().st_mode & 0o077 == 0
    assert first.strip() not in secret.read_text()


@pytest.mark.parametrize(
    "arguments", [[], ["check"], ["fly"], ["replay", "a.toml", "b.csv"], ["spool"], ["check", "a", "--jason"]]
)
def test_a_wrong_argument_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The usage is printed, nothing is done."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: trueline-edge" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "schema", "run", "replay", "doctor", "spool", "key"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command shows an example and what its exit codes mean."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n  $ trueline-" in text
    assert "exit codes:" in text


def test_the_version_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """As installed."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("trueline-edge 0.")


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from trueline_edge.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def without(absent: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on a machine that lacks some libraries."""
    program = [sys.executable, "-c", WITHOUT.format(absent=absent), *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)


EXTRA = {"apsw", "paho", "aiocoap", "prometheus_client", "pyarrow"}


def test_a_missing_extra_says_how_to_mend_it(good: Path) -> None:
    """Without the extra `run` and `spool` name the line to type; `check`, `doctor` and `replay` to CSV work."""
    (good.parent / "in.csv").write_text("t,a\n1,5\n")
    for arguments in (["run"], ["spool", "show"]):
        done = without(EXTRA, *arguments, str(good))
        assert (done.returncode, done.stdout) == (2, "")
        assert 'is not installed: pip install "trueline[edge]"' in done.stderr
    assert without(EXTRA, "check", str(good)).stdout == "ok\n"
    replay = ["replay", str(good), str(good.parent / "in.csv"), "--out"]
    assert without(EXTRA, *replay, str(good.parent / "o.csv")).returncode == 0
    done = without(EXTRA, *replay, str(good.parent / "o.parquet"))
    assert (done.returncode, 'pip install "trueline[edge]"' in done.stderr) == (2, True)


def test_a_reader_that_leaves_is_no_error(good: Path) -> None:
    """`trueline-edge schema | head -1` ends quietly."""
    command = f"{sys.executable} -m trueline_edge schema | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_running_agent_does_not_load_what_is_large(good: Path) -> None:
    """Only `replay` to Parquet loads pyarrow: neither the command line nor the agent does."""
    code = "import sys, trueline_edge.__main__, trueline_edge.agent; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

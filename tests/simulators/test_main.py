from pathlib import Path

import pytest

from trueline_sim.__main__ import main
from trueline_sim.children import free_port


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["demo", "--devices", "0"], "at least 1"),
        (["demo", "--seconds", "-1"], "above 0"),
        (["fleet", "--broker", "x", "--cloud-state", "."], "HOST:PORT is wanted"),
        ([], "COMMAND"),
    ],
)
def test_odd_arguments_are_refused_with_a_word(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument that makes no sense ends with exit code 2 and says what is wanted."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


def test_a_used_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's counts begin at 0, so a folder with an earlier run is not taken."""
    (tmp_path / "journal.db").touch()
    assert main(["demo", "--headless", "--folder", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """`demo --help` says what happens and what the exit codes mean."""
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    text = capsys.readouterr().out
    assert "Exit code 0" in text
    assert "--headless" in text


def test_a_fleet_without_a_broker_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody at the broker's address is a message, not a traceback."""
    monkeypatch.setattr("trueline_sim.fleet._CONNECT_S", 0.2)
    key = "A" * 43 + "="
    arguments = ["--devices", "1", "--broker", f"127.0.0.1:{free_port()}", "--cloud-state", str(tmp_path)]
    assert main(["fleet", *arguments, "--cloud-key", key]) == 2
    assert "no broker answers" in capsys.readouterr().err

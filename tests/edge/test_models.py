"""`trueline-edge model`, as a user types it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from model_kit import KEY, STRANGER, calibrated, network_package, pca_package

from trueline_edge.__main__ import main
from trueline_model.package import write_package

if TYPE_CHECKING:
    from pathlib import Path

TRUST = ("--public-key", KEY.public_text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (1, 2):
        (tmp_path / f"{version}.tlm").write_bytes(write_package(calibrated(pca_package(version)), KEY))
    return tmp_path / "models" / "pump"


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    code = main(["model", *map(str, words)])
    taken = capsys.readouterr()
    return code, taken.out + taken.err


def test_install_show_rollback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each prints the model that serves, what it reads and what it costs here."""
    up = folder.parents[1]
    code, text = run(capsys, "install", folder, up / "1.tlm", *TRUST)
    assert code == 0
    assert text.startswith("pump-1.tlm: pca, ")
    assert "us a row" in text
    assert "a [1], b [1], each 1 s" in text
    assert "1 false ones in 500 s; calibrated on 4,900 s" in text
    assert run(capsys, "install", folder, up / "2.tlm", *TRUST)[0] == 0
    code, text = run(capsys, "show", folder, *TRUST, "--json")
    said = json.loads(text)
    assert (code, said["file"], said["manifest"]["version"]) == (0, "pump-2.tlm", 2)
    assert said["cost"]["row_us"] > 0.0
    code, text = run(capsys, "rollback", folder, *TRUST)
    assert (code, text[:10]) == (0, "pump-1.tlm")
    code, text = run(capsys, "rollback", folder, *TRUST)
    assert (code, "no version to go back to" in text) == (2, True)


def test_what_is_refused_is_said_with_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Older, a stranger's: refused, and the one that serves serves on."""
    up = folder.parents[1]
    run(capsys, "install", folder, up / "2.tlm", *TRUST)
    code, text = run(capsys, "install", folder, up / "1.tlm", *TRUST)
    assert (code, "refused: pump-1.tlm: pump-2.tlm is there already" in text) == (1, True)
    (up / "theirs.tlm").write_bytes(write_package(pca_package(3), STRANGER))
    code, text = run(capsys, "install", folder, up / "theirs.tlm", *TRUST, "--json")
    assert code == 1
    assert not json.loads(text)["ok"]
    assert run(capsys, "show", folder, *TRUST)[1].startswith("pump-2.tlm")


def test_a_package_can_be_looked_at_before_it_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show` of a file tries it."""
    (tmp_path / "net.tlm").write_bytes(write_package(network_package(7, metrics={"ap": 0.75}), KEY))
    code, text = run(capsys, "show", tmp_path / "net.tlm", *TRUST)
    assert code == 0
    assert text.startswith("pump-7.tlm: network, ")
    assert "none: a score alone" in text
    assert "ap  0.75" in text


def test_a_wrong_word_is_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is none, a file that is not there."""
    code, text = run(capsys, "show", folder, "--public-key", "abc")
    assert (code, "not an Ed25519 public key" in text) == (2, True)
    code, text = run(capsys, "install", folder, folder / "none.tlm", *TRUST)
    assert (code, "cannot be read" in text) == (2, True)

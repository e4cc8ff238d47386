from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from score_kit import record

from trueline_sim.__main__ import main
from trueline_sim.plot import read_real
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"


def test_every_channel_becomes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A PNG a channel, of the device with most labels unless one is named."""
    folder = record(tmp_path / "recording", devices=3, steps=400, faults=60.0)
    assert main(["plot", str(folder), "--out", str(tmp_path / "pictures")]) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == 2
    for picture in (tmp_path / "pictures").iterdir():
        assert picture.read_bytes().startswith(PNG)


def test_a_real_channel_stands_beside(tmp_path: Path) -> None:
    """With a real file the picture is another one, taller."""
    folder = record(tmp_path / "recording", devices=1, steps=100)
    real = tmp_path / "real.csv"
    real.write_text("datetime;Pressure\n" + "".join(f"2020-02-08 13:30:{at:02d};{at / 7}\n" for at in range(60)))
    command = ["plot", str(folder), "--channel", "humidity", "--device", "d0000", "--out"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert main([*command, str(tmp_path / "b"), "--real", f"{real}:Pressure"]) == 0
    (alone,), (beside,) = (list((tmp_path / name).iterdir()) for name in "ab")
    height = slice(20, 24)
    assert int.from_bytes(beside.read_bytes()[height]) > int.from_bytes(alone.read_bytes()[height])


def test_real_files_are_read_as_they_come(tmp_path: Path) -> None:
    """Delimiter, time and gaps are found."""
    real = tmp_path / "real.csv"
    real.write_text("time;a;b\n2020-01-01 00:00:00;1;2\n2020-01-01 00:01:00;;3\n2020-01-01 00:02:00;4;5\n")
    channel = read_real(f"{real}:a")
    np.testing.assert_array_equal(channel.value, [1.0, np.nan, 4.0])
    assert channel.interval_s == 60.0
    real.write_text("No,Timestamp,a\n1,18/08/2021 12:15:00,1\n2,18/08/2021 12:30:00,2\n")
    assert read_real(f"{real}:a").interval_s == 900.0


def test_recorded_pressure_is_read(data_folder: Path) -> None:
    """SKAB's pressure is read at its rate."""
    channel = read_real(f"{data_folder / 'skab/anomaly-free/anomaly-free.csv'}:Pressure", rows_max=1000)
    assert len(channel.value) == 1000
    assert channel.interval_s == 1.0


def test_mistakes_are_told(tmp_path: Path) -> None:
    """No colon, no file, no column."""
    for text in ("nothing", f"{tmp_path}/none.csv:a"):
        with pytest.raises(ConfigError, match="--real"):
            read_real(text)
    real = tmp_path / "real.csv"
    real.write_text("time,a\n1,2\n2,3\n")
    with pytest.raises(ConfigError, match="there are time, a"):
        read_real(f"{real}:b")

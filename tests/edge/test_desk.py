"""`trueline-edge calibrate` and `consistency`, as a person runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trueline_edge.__main__ import main
from trueline_edge.calibration.file import load_calibration
from trueline_edge.stages import Calibrate
from trueline_wire.readings import Channel, Flag, Readings, Schema

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = 12 * 1440


def write(path: Path, head: str, *columns: np.ndarray) -> Path:
    rows = "\n".join(",".join(f"{cell:.10g}" for cell in row) for row in zip(*columns, strict=True))
    path.write_text(f"{head}\n{rows}\n", encoding="utf-8")
    return path


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Twelve days of minutes of a sensor that is 40 minutes ahead, beside an hourly reference."""
    rng = np.random.default_rng(21)
    minute = np.arange(MINUTES)
    slow = np.convolve(rng.normal(size=MINUTES + 300), np.ones(301) / 301, "valid") * 60
    truth = 40 + slow + 8 * np.sin(minute * 2 * np.pi / 1440)
    temperature = 20 + 5 * np.sin(minute * 2 * np.pi / 1440 + 1) + 0.002 * minute / 10
    raw = 5 + 0.8 * truth + 0.4 * (temperature - 20) + rng.normal(0, 0.5, MINUTES)
    start = 1_700_000_400 // 3600 * 3600
    write(tmp_path / "raw.csv", "time,x,temp", minute * 60.0 + start + 2400, raw, temperature)
    hours = np.arange(0, MINUTES, 60)
    hourly = np.array([truth[h : h + 60].mean() for h in hours])
    write(tmp_path / "reference.csv", "time,value", hours * 60.0 + start, hourly)
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    files = ["--raw", str(folder / "raw.csv"), "--reference", str(folder / "reference.csv")]
    times = ["--raw-csv", "time_format=s", "--reference-csv", "time_format=s"]
    return ["calibrate", *files, *times, "--out", str(folder / "x.toml"), "--json", *more]


def test_a_campaign_becomes_a_file_that_the_stage_takes(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The clock's offset is found and said, the file corrects raw readings, its intervals hold, the report is whole."""
    report = campaign / "x.html"
    more = ("--channel", "x", "--with", "t=temp", "--offset-max-s", "7200", "--unit", "[ppb]", "--report", str(report))
    assert main(arguments(campaign, *more)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clock_certain"]
    assert told["clock_offset_s"] == pytest.approx(2400, abs=300)
    assert told["readings_per_pair"] == pytest.approx(60, abs=1)
    assert told["checked"]["rmse"] < 0.3 * told["raw_checked"]
    assert told["checked"]["coverage_95"] > 0.85
    text = report.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 6
    for word in ("Bland-Altman", "Coverage", "Drift", "against t", "out of time", "40 min ahead"[:2]):
        assert word in text
    assert "http" not in text.replace("http-equiv", "")
    calibration = load_calibration(campaign / "x.toml")
    assert calibration.u.noise == pytest.approx(0.5 / 0.8, rel=0.25)
    schema = Schema(device="d", stream="s", channels=(Channel(name="x", unit="[ppb]"), Channel(name="t", unit="Cel")))
    stage = Calibrate(files=(campaign / "x.toml",)).stage(schema)
    now_ns = int(calibration.date.timestamp()) * 10**9
    out = stage(Readings.raw(schema, [now_ns], [[5 + 0.8 * 42 + 0.4, 21.0]]))
    assert out.value[0, 0] == pytest.approx(42.0, abs=4 * float(out.u[0, 0]))
    assert out.flag[0, 0] == Flag.NOT_EVALUATED


def test_a_useless_channel_is_refused_and_nothing_written(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the reasons, no file."""
    rng = np.random.default_rng(22)
    lines = (campaign / "raw.csv").read_text().splitlines()
    spoilt = [lines[0], *(f"{line.split(',')[0]},{rng.normal():.4f},{line.split(',')[2]}" for line in lines[1:])]
    (campaign / "raw.csv").write_text("\n".join(spoilt) + "\n", encoding="utf-8")
    assert main(arguments(campaign, "--channel", "x", "--offset-max-s", "7200")) == 1
    told = json.loads(capsys.readouterr().out)
    assert any("does not follow" in reason for reason in told["refused"])
    assert not told["clock_certain"]
    assert not (campaign / "x.toml").exists()


def test_files_without_common_time_are_a_mistake(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong zone or format is said, with what to look at."""
    text = (campaign / "reference.csv").read_text().splitlines()
    late = [text[0], *(f"{int(line.split(',')[0]) + 10**8},{line.split(',')[1]}" for line in text[1:])]
    (campaign / "reference.csv").write_text("\n".join(late) + "\n", encoding="utf-8")
    assert main(arguments(campaign, "--channel", "x")) == 2
    assert "no time in common" in capsys.readouterr().err


@pytest.mark.parametrize(("term", "message"), [("exp(x)", "--terms has 'exp(x)'"), ("x*rh", "'rh' is no channel here")])
def test_a_term_that_is_none_is_a_mistake(
    campaign: Path, capsys: pytest.CaptureFixture[str], term: str, message: str
) -> None:
    """What may stand there is said."""
    assert main(arguments(campaign, "--channel", "x", "--terms", term)) == 2
    assert message in capsys.readouterr().err


def test_sensors_on_a_shelf_get_a_verdict_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that shifts is named, the report shows its charts, and a calibration is applied first, from raw."""
    rng = np.random.default_rng(23)
    n = 20 * 144
    truth = 20 + 3 * np.sin(np.arange(n) * 2 * np.pi / 144)
    value = truth[:, None] + rng.normal(0, 0.1, (n, 4))
    value[n // 2 :, 1] += 0.3
    value[:, 3] = (value[:, 3] - 5.0) / 2.0
    write(tmp_path / "shelf.csv", "time,a,b,c,d", np.arange(n) * 600.0, *value.T)
    calibration = (
        'id = "d-1"\nchannel = "d"\ndate = 1970-01-01T00:00:00Z\n[model]\ntype = "affine"\noffset = 5.0\ngain = 2.0\n'
    )
    (tmp_path / "d.toml").write_text(calibration, encoding="utf-8")
    table = ["consistency", str(tmp_path / "shelf.csv"), "--csv", "time_format=s", "--sensors", "a", "b", "c", "d"]
    report = tmp_path / "shelf.html"
    more = ["--bias", "0.1", "--calibrations", str(tmp_path / "d.toml"), "--report", str(report), "--json"]
    assert main(table + more) == 1
    told = {each["sensor"]: each for each in json.loads(capsys.readouterr().out)["sensors"]}
    assert {name: each["verdict"] for name, each in told.items()} == {
        "a": "consistent",
        "b": "inconsistent",
        "c": "consistent",
        "d": "consistent",
    }
    assert "bias" in told["b"]["reasons"][0]
    assert set(told["b"]["out_since"]) == {"shewhart", "ewma", "cusum"}
    assert report.read_text(encoding="utf-8").count("data:image/png") == 4
    assert main([*table, "--bias", "0.1", "--show-charts"]) == 1  # negative control: uncalibrated, d is far off
    assert "d: inconsistent" in capsys.readouterr().out

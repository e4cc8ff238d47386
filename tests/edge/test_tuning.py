"""`trueline-edge tune`: noises from a recording."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trueline_edge.__main__ import main
from trueline_edge.config import load_config
from trueline_edge.stages.fusion.noise import load_noise
from trueline_edge.stages.self_calibrate import load_versions
from trueline_edge.tuning.likelihood import fit_noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEAD = """
device = "d"
state = "state"
[cloud]
public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[link]]
protocol = "mqtt"
host = "localhost"
[[stream]]
name = "s"
[stream.source]
type = "replay"
path = "march.csv"
[[stream.channel]]
name = "t1"
unit = "Cel"
u = 0.3
[[stream.channel]]
name = "t2"
unit = "Cel"
u = 0.3
[[stream.stage]]
type = "gross_range"
minimum = -40.0
maximum = 80.0
"""
FUSE = """
[[stream.stage]]
type = "fuse"
name = "air"
inputs = ["t1", "t2"]
"""


def recording(path: Path, seed: int = 1, n: int = 3000) -> NDArray[np.float64]:
    """Two sensors, noise 0.1 and 0.2, of a walk that gains 1e-4 a second; one reading in a hundred is 500."""
    rng = np.random.default_rng(seed)
    truth = 20.0 + np.cumsum(rng.normal(0.0, np.sqrt(1e-4 * 10), n))
    value = truth[:, None] + rng.normal(0.0, [0.1, 0.2], (n, 2)) + np.array([0.3, -0.3])
    value[rng.random(n) < 0.01, 0] = 500.0
    start, step = np.datetime64("2026-03-01T00:00:00"), np.timedelta64(10, "s")
    rows = "\n".join(f"{start + i * step},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(value.tolist()))
    path.write_text("time,t1,t2\n" + rows + "\n")
    return truth


def test_the_noises_of_a_recording_are_found_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tune` finds r and q within 25 %, behind the stages that stand before, and its file is taken by `fuse`."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "agent.toml"
    recording(tmp_path / "march.csv")
    config.write_text(HEAD + FUSE)
    assert main(["tune", str(config), "march.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["outputs"][0]
    assert found["noise"]["r"] == pytest.approx([0.01, 0.04], rel=0.25)
    assert found["noise"]["q"] == pytest.approx(1e-4, rel=0.25)
    assert found["nis"] == pytest.approx(1.0, abs=0.15)
    noise = load_noise(tmp_path / "noise.toml").of("air")
    assert noise is not None
    assert noise.q == pytest.approx(found["noise"]["q"], rel=1e-4)
    config.write_text(HEAD + FUSE + 'noise = "given"\nfile = "noise.toml"\n')
    assert load_config(config)
    assert main(["replay", str(config), "march.csv", "--out", "out.csv"]) == 0
    config.write_text(HEAD + FUSE.replace('"air"', '"water"') + 'noise = "given"\nfile = "noise.toml"\n')
    assert main(["check", str(config)]) == 2
    assert "no noise of 'water'" in capsys.readouterr().err


def test_a_stage_that_calibrates_itself_leaves_its_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `self_calibrate` has learnt of a recording is written as a version, and brought back by file and version."""
    config = tmp_path / "agent.toml"
    recording(tmp_path / "march.csv")
    stage = '[[stream.stage]]\ntype = "self_calibrate"\nname = "sc"\ninputs = ["t1", "t2"]\n'
    config.write_text(HEAD + stage)
    assert main(["tune", str(config), str(tmp_path / "march.csv"), "--out", str(tmp_path / "noise.toml")]) == 0
    assert "sc.version" in capsys.readouterr().out
    version = load_versions(tmp_path / "sc.versions.toml").versions[0]
    apart = version.parameters["t1"][0] - version.parameters["t2"][0]
    assert apart == pytest.approx(0.6, abs=0.1)
    config.write_text(HEAD + stage + f'file = "sc.versions.toml"\nversion = {version.number}\nfreeze = true\n')
    assert load_config(config)


def test_nothing_to_tune_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stream without a stage that has noises is refused, with what to add."""
    config = tmp_path / "agent.toml"
    recording(tmp_path / "march.csv", n=200)
    config.write_text(HEAD)
    assert main(["tune", str(config), str(tmp_path / "march.csv")]) == 2
    assert "has nothing to tune" in capsys.readouterr().err


def test_too_short_or_constant_recordings_are_refused() -> None:
    """Fifty readings are the least, and they must move."""
    dt = np.full(60, 1.0)
    with pytest.raises(ValueError, match="50 are the least"):
        fit_noise("level", dt[:20], np.zeros((20, 1)), 3600.0)
    with pytest.raises(ValueError, match="never change"):
        fit_noise("level", dt, np.zeros((60, 1)), 3600.0)


def test_a_trend_is_fitted_where_there_is_one() -> None:
    """For a quantity with a slope the trend's noises foretell the later part better than the level's."""
    rng = np.random.default_rng(3)
    slope = np.cumsum(rng.normal(0.0, 1e-3, 1500))
    value = np.cumsum(slope * 10.0) + rng.normal(0.0, 0.1, 1500)
    dt = np.full(1500, 10.0)
    dt[0] = np.nan
    trend = fit_noise("trend", dt, value[:, None], 1e9)
    assert trend.moves["q_trend"] == pytest.approx(1e-7, rel=0.5)
    assert trend.r[0] == pytest.approx(0.01, rel=0.25)
    assert trend.nis == pytest.approx(1.0, abs=0.2)


def test_a_daily_cycle_is_fitted() -> None:
    """The daily model finds the noise of readings that follow the sun."""
    rng = np.random.default_rng(4)
    t_s = np.arange(0, 6 * 86_400, 900)
    value = 20.0 + 5.0 * np.sin(2 * np.pi * t_s / 86_400) + rng.normal(0.0, 0.2, len(t_s))
    dt = np.full(len(t_s), 900.0)
    dt[0] = np.nan
    fit = fit_noise("daily", dt, value[:, None], 21_600.0)
    assert fit.r[0] == pytest.approx(0.04, rel=0.3)
    assert set(fit.moves) == {"q", "q_trend", "q_daily"}

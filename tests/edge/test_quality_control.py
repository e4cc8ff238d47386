"""Quality control as a whole: the page's configuration, and the lessons others paid for."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from trueline_edge.config import AgentConfig, load_config
from trueline_edge.pipeline import Pipeline
from trueline_edge.replay import choose_stream, replay_file
from trueline_edge.stages import FlatLine, GrossRange, Missing, RateOfChange, Spike, StageConfig, Timing
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema
from trueline_wire.settings import parse_toml

ROOT = Path(__file__).parents[2]
HEAD = """
device = "tunnel-1"
state = "state"
cloud = { public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }
link = [{ protocol = "coap", host = "127.0.0.1" }]
"""
NAN = float("nan")
SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a", unit="Cel", resolution=0.1),))
CHAIN: list[StageConfig] = [
    Timing(interval_s=10.0),
    Missing(),
    GrossRange(minimum=-40, maximum=85),
    RateOfChange(fail_per_s=1.0),
    Spike(),
    FlatLine(suspect_repeats=10, fail_repeats=20, tolerance=0.0),
]


Values = np.ndarray[tuple[int], np.dtype[np.float64]]


def page() -> AgentConfig:
    """All blocks of the page, one after the other."""
    text = (ROOT / "docs/quality-control.md").read_text()
    return load(HEAD + "\n".join(re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)))


def load(text: str) -> AgentConfig:
    return parse_toml(text, Path("agent.toml"), AgentConfig)


def judge(values: list[float] | Values, times_s: list[float] | None = None) -> Readings:
    times_s = [10.0 * n for n in range(len(values))] if times_s is None else times_s
    time_ns = [round((1_600_000_000 + t) * 1e9) for t in times_s]
    pipeline = Pipeline(CHAIN, SCHEMA)
    return pipeline(Readings.raw(SCHEMA, time_ns, np.array(values, float).reshape(-1, 1)))


def wiggle(n: int) -> Values:
    values: Values = 20 + np.round(np.sin(2.4 * np.arange(n)), 3)
    return values


def test_the_pages_blocks_are_one_configuration() -> None:
    """Each test of the page is a stage that a configuration takes, in the page's order."""
    (stream,) = page().streams
    names = [type(stage).__struct_config__.tag for stage in stream.stages]
    assert names == [
        "timing",
        "missing",
        "gross_range",
        "climatology",
        "spike",
        "rate_of_change",
        "flat_line",
        "attenuated",
        "noise",
        "neighbours",
    ]


def test_the_page_names_each_setting_of_each_test() -> None:
    """No setting is left for the reader to find in the source."""
    text = (ROOT / "docs/quality-control.md").read_text()
    for stage in page().streams[0].stages:
        for field in msgspec.structs.fields(stage):
            assert re.search(rf"\b{field.encode_name}\b", text), f"{type(stage).__name__}.{field.name}"


def test_the_greenhouse_example_is_what_check_takes() -> None:
    """The example's configuration is valid, and has every test on this page."""
    streams = load_config(ROOT / "examples" / "greenhouse" / "agent.toml").streams
    assert len(streams) == 15
    used = {type(stage) for stream in streams for stage in stream.stages}
    assert used >= {type(stage) for stage in page().streams[0].stages}


@pytest.mark.parametrize(
    ("stage", "key", "message"),
    [
        ('type = "neighbours"\nsuspect = 1', "channels", "numbers of one unit, but here are %, Cel"),
        ('type = "gross_range"\nmaximum = 1', "channels", "numbers of one unit, but here are %, Cel"),
        ('type = "flat_line"\ntolerance = 1', "channels", "numbers of one unit, but here are %, Cel"),
        ('type = "spike"\nchannels = ["ait"]', "channels", "no channel 'ait'"),
        ('type = "rate_of_change"', "", "suspect_per_s or fail_per_s is wanted"),
        ('type = "climatology"\n[[stream.stage.band]]\nhours = [5, 5]', "band[0].hours", "hours [5, 5]"),
    ],
)
def test_check_names_what_does_not_fit(stage: str, key: str, message: str) -> None:
    """A stage's mistake is named with its key before anything runs."""
    stream = '[[stream]]\nname = "s"\nsource = { type = "simulated" }\n'
    channels = '[[stream.channel]]\nname = "air"\nunit = "Cel"\n[[stream.channel]]\nname = "rh"\nunit = "%"\n'
    with pytest.raises(ConfigError) as refused:
        load(HEAD + stream + channels + "[[stream.stage]]\n" + stage)
    assert message in str(refused.value)
    assert f"stream[0].stage[0]{'.' if key else ''}{key}" in str(refused.value)


# ------------------------------------------------------------ lessons


def test_the_first_sample_may_be_an_outlier() -> None:
    """Lesson 1: it poisons nothing: every good value behind it passes, or is not evaluated."""
    values = wiggle(100)
    values[0] = 84.0
    assert set(judge(values).flag[1:, 0].tolist()) <= {Flag.PASS, Flag.NOT_EVALUATED}


def test_a_genuine_step_passes_within_five_samples() -> None:
    """Lesson 2: it is not rejected for ever: two values fail the rate, three more are spikes, then it is the normal."""
    values = wiggle(200)
    values[100:] += 40.0
    flagged = np.flatnonzero(judge(values).flag[:, 0] > Flag.NOT_EVALUATED)
    assert flagged.tolist() == [100, 101, 102, 103, 104]


def test_an_outlier_changes_no_flag_but_its_own() -> None:
    """Lesson 3: with and without a wild value, all others are judged the same."""
    clean = wiggle(200)
    dirty = clean.copy()
    dirty[[50, 51, 90, 150]] = [70.0, -30.0, 9999.0, 65.0]
    one, other = judge(clean), judge(dirty)
    differ = np.flatnonzero(one.flag[:, 0] != other.flag[:, 0])
    assert differ.tolist() == [50, 51, 90, 150]
    assert (other.flag[differ, 0] >= Flag.SUSPECT).all()


def test_a_dead_sensor_turns_bad() -> None:
    """Lesson 4: NaN is MISSING at once; a value that stands still FAILs after so many; none is given as live."""
    values = wiggle(100)
    values[50:60] = NAN
    values[60:] = 20.5
    flag = judge(values).flag[:, 0]
    assert set(flag[50:60].tolist()) == {Flag.MISSING}
    assert set(flag[80:].tolist()) == {Flag.FAIL}
    assert flag[71] == Flag.SUSPECT


def test_a_late_row_keeps_its_time_and_is_no_news() -> None:
    """Lesson 6: rows that come late keep their own event time, are flagged, and the newest stays the newest."""
    values, times = wiggle(40), [10.0 * n for n in range(40)]
    times[20:23] = [35.0, 45.0, 55.0]
    judged = judge(values, times)
    assert judged.time_ns.tolist() == [round((1_600_000_000 + t) * 1e9) for t in times]
    late = (judged.reason[:, 0] & Reason.TIMING) != 0
    assert np.flatnonzero(late).tolist() == [20, 21, 22]
    assert judged.flag[23, 0] != Flag.FAIL


@pytest.mark.parametrize(
    ("times_s", "flagged"),
    [
        ([*(-1_600_000_000 + 10.0 * n for n in range(5)), *(10.0 * n for n in range(30))], range(5)),
        ([*(10.0 * n for n in range(20)), *(10.0 * n + 200 - 3600 for n in range(400))], range(20, 380)),
    ],
    ids=["from 1970 to now", "an hour back"],
)
def test_the_clock_jumps(times_s: list[float], flagged: range) -> None:
    """Lesson 18: rows with times that cannot be right, or that were there before, are flagged; all others pass."""
    judged = judge(wiggle(len(times_s)), times_s)
    doubted = judged.reason[:, 0] & (Reason.TIMING | Reason.CLOCK) != 0
    assert np.flatnonzero(doubted).tolist() == list(flagged)
    trusted = judged.time_ns[~doubted]
    assert (np.diff(trusted) > 0).all()


@pytest.mark.parametrize(("fold", "late"), [("order", 0), ("earlier", 4)])
def test_a_leap_of_summer_time_in_a_file(tmp_path: Path, fold: str, late: int) -> None:
    """Lesson 18: time goes on through the hour that comes twice; read without regard to order, rows are late."""
    local = [f"2021-10-31 {h:02}:{m:02}:00" for h in (1, 2) for m in (0, 15, 30, 45)]
    local += [f"2021-10-31 {h:02}:{m:02}:00" for h in (2, 3) for m in (0, 15, 30, 45)]
    (tmp_path / "in.csv").write_text("t,a\n" + "".join(f"{t},{20 + n % 3}\n" for n, t in enumerate(local)))
    source = (
        f'[[stream]]\nname = "s"\nsource = {{ type = "replay", path = "x", zone = "Europe/Rome", fold = "{fold}" }}\n'
    )
    config = load(
        HEAD + source + '[[stream.channel]]\nname = "a"\n[[stream.stage]]\ntype = "timing"\ninterval_s = 900\n'
    )
    replay_file(config, choose_stream(config, None), tmp_path / "in.csv", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert sum(reason & Reason.TIMING != 0 for reason in table["reason"]) == late
    assert (all(a < b for a, b in pairwise(table["time_ns"]))) == (late == 0)


def test_a_row_that_failed_for_its_time_is_not_judged_again() -> None:
    """Whatever its values, later tests add nothing to a row whose time was wrong; a cell without one is MISSING."""
    for value in (20.0, 1e9):
        judged = judge([20.1, 20.2, value, 20.3], [0.0, 10.0, 10.0, 20.0])
        assert (judged.flag[2, 0], judged.reason[2, 0]) == (Flag.FAIL, Reason.TIMING)
    judged = judge([20.1, 20.2, NAN, 20.3], [0.0, 10.0, 10.0, 20.0])
    assert (judged.flag[2, 0], judged.reason[2, 0]) == (Flag.MISSING, Reason.MISSING)

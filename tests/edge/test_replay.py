"""`trueline-edge replay`: the stages of a configuration over a recorded file."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from trueline_edge.config import AgentConfig, load_config
from trueline_edge.replay import COLUMNS, choose_stream, replay_file
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
device = "pump-7"
state = "state"
[cloud]
public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[link]]
protocol = "coap"
host = "127.0.0.1"
"""

TOY = """
[[stream]]
name = "toy"
source = { type = "replay", path = "unused.csv", time_format = "s", speed = "realtime" }
[[stream.channel]]
name = "a"
u = 0.1
[[stream.channel]]
name = "b"
[[stream.stage]]
type = "missing"
[[stream.stage]]
type = "gross_range"
maximum = 10
"""

SKAB = """
[[stream]]
name = "valve"
[stream.source]
type = "replay"
path = "valve.csv"
separator = ";"
[[stream.channel]]
name = "Pressure"
unit = "bar"
resolution = 0.327
[[stream.channel]]
name = "Temperature"
unit = "Cel"
u = 0.5
[[stream.stage]]
type = "missing"
[[stream.stage]]
type = "gross_range"
minimum = 0
channels = ["Pressure"]
[[stream.stage]]
type = "flat_line"
suspect_repeats = 5
fail_repeats = 10
"""

GREENHOUSE = """
[[stream]]
name = "greenhouse"
[stream.source]
type = "replay"
path = "x.csv"
time_column = "Timestamp"
time_format = "%d/%m/%Y %H:%M:%S"
zone = "Europe/Rome"
[[stream.channel]]
name = "air 1"
column = "Temperature 1 (°C)"
unit = "Cel"
[[stream.channel]]
name = "air 3"
column = "Temperature 3 (°C)"
unit = "Cel"
[[stream.stage]]
type = "missing"
[[stream.stage]]
type = "gross_range"
minimum = -20
maximum = 60
"""


def configured(folder: Path, streams: str) -> AgentConfig:
    path = folder / "agent.toml"
    path.write_text(HEAD + streams)
    return load_config(path)


def toy(folder: Path, out: str) -> Path:
    source = folder / "in.csv"
    source.write_text("t,a,b\n1,0.1,11\n2,,x\nlater,1,1\n")
    config = configured(folder, TOY)
    summary = replay_file(config, config.streams[0], source, folder / out)
    assert (summary.rows, summary.values, summary.lost) == (2, 4, {"malformed_row": 1})
    assert summary.flags == {"a": {"pass": 1, "missing": 1}, "b": {"fail": 1, "missing": 1}}
    assert summary.reasons == {"a": {"missing": 1}, "b": {"gross_range": 1, "missing": 1, "unparsable": 1}}
    return folder / out


def test_csv_says_every_value_with_its_flag(tmp_path: Path) -> None:
    """One line for each value, NaN as nothing, numbers as short as they can be."""
    with toy(tmp_path, "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            list(COLUMNS),
            ["1000000000", "toy", "a", "0.1", "0.1", "1", "0"],
            ["1000000000", "toy", "b", "11.0", "", "4", "1"],
            ["2000000000", "toy", "a", "", "0.1", "9", "2"],
            ["2000000000", "toy", "b", "", "", "9", "8194"],
        ]


def test_parquet_says_the_same(tmp_path: Path) -> None:
    """The same lines, typed."""
    table = pq.read_table(toy(tmp_path, "out.parquet"))
    assert tuple(table.column_names) == COLUMNS
    assert [str(table.schema.field(name).type) for name in ("time_ns", "value", "u", "flag", "reason")] == [
        "int64",
        "double",
        "float",
        "uint8",
        "uint32",
    ]
    assert table["channel"].to_pylist() == ["a", "b", "a", "b"]
    assert table["flag"].to_pylist() == [1, 4, 9, 9]
    assert np.array_equal(table["value"].to_numpy(), [0.1, 11.0, np.nan, np.nan], equal_nan=True)


def test_an_output_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A file appears under its name when it is complete; an older one of the name stays."""
    config = configured(tmp_path, TOY)
    out = tmp_path / "out.csv"
    out.write_text("older")
    (tmp_path / "in.csv").write_text("t,other\n1,2\n")
    with pytest.raises(ConfigError, match="no column 'a'"):
        replay_file(config, config.streams[0], tmp_path / "in.csv", out)
    assert out.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.toml", "in.csv", "out.csv"]
    with pytest.raises(ConfigError, match="cannot be written"):
        replay_file(config, config.streams[0], tmp_path / "in.csv", tmp_path / "none" / "out.csv")


def test_the_stream_is_named_or_the_only_one(tmp_path: Path) -> None:
    """One stream needs no name; of several the only replay is meant; else the name is asked for."""
    bench = '[[stream]]\nname = "bench"\nsource = { type = "simulated" }\n[[stream.channel]]\nname = "x"\n'
    one, both = configured(tmp_path, TOY), configured(tmp_path, TOY + bench)
    assert choose_stream(one, None).name == "toy"
    assert choose_stream(both, None).name == "toy"
    assert choose_stream(both, "bench").name == "bench"
    with pytest.raises(ConfigError, match="no stream 'x'; streams here: toy, bench"):
        choose_stream(both, "x")
    with pytest.raises(ConfigError, match="name one with --stream; streams here: toy, toy 2"):
        choose_stream(configured(tmp_path, TOY + TOY.replace('"toy"', '"toy 2"')), None)


def test_a_stream_that_does_not_replay_is_tuned_on_a_file_too(tmp_path: Path) -> None:
    """Channels and stages of a simulated stream run over a file with ISO times in its first column."""
    stream = '[[stream]]\nname = "bench"\nsource = { type = "simulated" }\n[[stream.channel]]\nname = "x"\n'
    config = configured(tmp_path, stream)
    (tmp_path / "in.csv").write_text("when,x\n2020-01-01T00:00:00Z,5\n")
    assert replay_file(config, config.streams[0], tmp_path / "in.csv", tmp_path / "o.csv").rows == 1


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_skab_through_the_stages(data_folder: Path, tmp_path: Path, suffix: str) -> None:
    """A real test bed: each value once, bit for bit, flags as a few lines of NumPy over the raw file say."""
    path = data_folder / "skab" / "valve1" / "0.csv"
    config = configured(tmp_path, SKAB)
    out = tmp_path / f"out{suffix}"
    summary = replay_file(config, config.streams[0], path, out)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert (summary.rows, summary.lost) == (len(rows), {})
    pressure = np.array([float(row["Pressure"]) for row in rows])
    if suffix == ".parquet":
        table = pq.read_table(out).to_pydict()
    else:
        with out.open(newline="") as file:
            lines = list(csv.DictReader(file))
        table = {name: [line[name] for line in lines] for name in COLUMNS}
    mine = np.array(table["channel"]) == "Pressure"
    assert np.array(table["value"], float)[mine].tobytes() == pressure.tobytes()
    flags, reasons = np.array(table["flag"], int)[mine], np.array(table["reason"], int)[mine]
    assert ((reasons & 1) != 0).tolist() == (pressure < 0).tolist()
    good = np.flatnonzero(pressure >= 0)  # what failed the range test before is not judged again
    kept = pressure[good]
    repeats = np.zeros(len(rows), bool)
    repeats[good] = [n >= 5 and bool((abs(kept[n - 5 : n] - kept[n]) <= 0.327 / 2).all()) for n in range(len(kept))]
    assert ((reasons & 4) != 0).tolist() == repeats.tolist()
    assert set(flags[reasons == 0].tolist()) == {1}


def test_a_dirty_greenhouse_through_the_stages(data_folder: Path, tmp_path: Path) -> None:
    """A real logger with absurd temperatures and clock steps: all rows come, all absurd values fail, none is mended."""
    path = data_folder / "greenhouse_verona" / "Greenhouse_1" / "Temp_4ch_2.csv"
    config = configured(tmp_path, GREENHOUSE)
    summary = replay_file(config, config.streams[0], path, tmp_path / "out.parquet")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if any(row)][1:]
    assert summary.rows + sum(summary.lost.values()) == len(rows)
    columns = {"air 1": [row[2] for row in rows], "air 3": [row[4] for row in rows]}
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 2 * summary.rows
    for name, texts in columns.items():
        absurd = sum(1 for text in texts if text and not -20 <= float(text) <= 60)
        assert absurd > 100
        assert summary.flags[name].get("fail", 0) == absurd
        assert summary.reasons[name].get("gross_range", 0) == absurd


JOINED = """
[[stream]]
name = "hall"
[stream.source]
type = "join"
period_s = 2
[[stream.source.input]]
channels = ["a"]
interpolation = "linear"
age_max_s = 10
wander = { a = 0 }
source = { type = "replay", path = "a.csv", time_format = "s", speed = "realtime" }
[[stream.source.input]]
channels = ["wave"]
interpolation = "none"
source = { type = "simulated", rows = 11, start_ns = 0 }
[[stream.channel]]
name = "a"
[[stream.channel]]
name = "wave"
[[stream.stage]]
type = "significance"
method = "send_on_delta"
bounds = { a = 100 }
along = ["wave"]
"""


def test_a_join_is_replayed_from_its_own_inputs(tmp_path: Path) -> None:
    """Without a file a stream's own source is read, as fast as it can be; rows left out are counted."""
    (tmp_path / "a.csv").write_text("t,a\n0,1.0\n4,5.0\n8,9.0\n")
    config = configured(tmp_path, JOINED)
    summary = replay_file(config, config.streams[0], None, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        values = {row[0]: row[3] for row in csv.reader(file) if row[2] == "a"}
    assert values == {"0": "1.0", "10000000000": ""}
    assert (summary.rows, summary.insignificant) == (2, 4)
    with pytest.raises(ConfigError, match="joins 2 inputs"):
        replay_file(config, config.streams[0], tmp_path / "a.csv", tmp_path / "out.csv")


def test_a_source_that_does_not_end_wants_a_file(tmp_path: Path) -> None:
    """Only what ends can be replayed from itself."""
    stream = '[[stream]]\nname = "bench"\nsource = {{ type = "simulated"{} }}\n[[stream.channel]]\nname = "x"\n'
    endless, ending = (configured(tmp_path, stream.format(rows)) for rows in ("", ", rows = 5"))
    with pytest.raises(ConfigError, match="does not end"):
        replay_file(endless, endless.streams[0], None, tmp_path / "o.csv")
    assert replay_file(ending, ending.streams[0], None, tmp_path / "o.csv").rows == 5

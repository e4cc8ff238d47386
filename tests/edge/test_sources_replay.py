"""Recorded files, clean and dirty."""

from __future__ import annotations

import csv
import logging
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from edge_sources import VirtualTime, drain, joined, lost, schema_of
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.sources import ChannelConfig, ReplayConfig
from trueline_edge.sources.csv_lines import Cells, find_column
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag, Readings, Reason

NAN = float("nan")
AB = [ChannelConfig(name="a"), ChannelConfig(name="b")]


async def replayed(
    folder: Path, text: str | bytes, channels: list[ChannelConfig] | None = None, **settings: object
) -> tuple[Readings, dict[str, int]]:
    path = folder / "in.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    channels = channels or AB
    config = ReplayConfig(path=path, **{"speed": "flat_out", "time_format": "s", **settings})  # type: ignore[arg-type]
    schema = schema_of(channels)
    batches = await drain(config.open(schema, channels, rows_max=100, clock=VirtualTime().clock))
    return joined(batches, schema), lost(batches)


def table(readings: Readings) -> list[list[float | None]]:
    return [[None if v != v else v for v in row] for row in readings.value.tolist()]  # noqa: PLR0124 - NaN alone differs


FILES: dict[str, tuple[str | bytes, dict[str, object]]] = {
    "plain": ("t,a,b\n1,1.5,2\n2,,-3e2\n", {}),
    "windows": (b"\xef\xbb\xbft,a,b\r\n1,1.5,2\r\n2,,-3e2\r\n", {}),
    "no last line end": ("t,a,b\n1,1.5,2\n2,,-3e2", {}),
    "other order, other columns": ("x,b,t,y,a\n,2,1,,1.5\n0,-300,2,,\n", {"time_column": "t"}),
    "blanks": ("t, a,b \n 1, 1.5 ,2\n2, ,-300\n", {}),
    "empty lines": ("\n\nt,a,b\n\n1,1.5,2\n,,\n2,,-300\n\n", {}),
    "preamble": ("made by hand\nt,a,b\nt,a,b\n1,1.5,2\n2,,-300\n", {"skip_lines": 2}),
    "semicolon and comma": ("t;a;b\n1;1,5;2\n2;;-3e2\n", {"separator": ";", "decimal": ","}),
    "any run of blanks": ("t a  b\n1   1.5 2 \n2 NA -300\n", {"separator": " ", "missing": ("NA",)}),
    "no header": (
        "1,1.5,2\n2,,-300\n",
        {"header": False, "channels": [ChannelConfig(name="a", column="#2"), ChannelConfig(name="b", column="#3")]},
    ),
    "missing codes": ("t,a,b\n1,1.5,2\n2,-999.0,-300\n", {"missing": ("n/a", "-999")}),
    "missing words": ("t,a,b\n1,1.5,2\n2,n/a,-300\n", {"missing": ("n/a", "-999")}),
    "nan is missing": ("t,a,b\n1,1.5,2\n2,NaN,-300\n", {}),
    "quotes": ('t,a,"b"\n"1",1.5,"2"\n2,"",-300\n', {}),
    "trailing separators": ("t,a,b,,\n1,1.5,2,,\n2,,-300,,\n", {}),
    "date and time": (
        "d,h,a,b\n01/01/1970,00.00.01,1.5,2\n01/01/1970,00.00.02,,-300\n",
        {"time_column": ("d", "h"), "time_format": "%d/%m/%Y %H.%M.%S"},
    ),
    "latin": ("t,a,b,°\n1,1.5,2,é\n2,,-300,\n".encode("latin-1"), {"encoding": "latin-1"}),
}


@pytest.mark.parametrize("name", FILES)
async def test_files_of_many_makers(tmp_path: Path, name: str) -> None:
    """The same two rows, as different programs write them, are the same two rows."""
    text, settings = FILES[name]
    readings, losses = await replayed(tmp_path, text, **settings)  # type: ignore[arg-type]
    assert table(readings) == [[1.5, 2.0], [None, -300.0]]
    assert readings.time_ns.tolist() == [10**9, 2 * 10**9]
    assert set(readings.flag.ravel().tolist()) == {Flag.NOT_EVALUATED}
    assert losses == {}


async def test_a_cell_that_is_no_number_is_flagged_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It becomes NaN, MISSING, UNPARSABLE, and the log says file and line; the rest of the row is untouched."""
    with caplog.at_level(logging.WARNING):
        readings, losses = await replayed(tmp_path, "t,a,b\n1,oops,2\n2,1_0,3\n3,1.5,4\n")
    assert table(readings) == [[None, 2.0], [None, 3.0], [1.5, 4.0]]
    assert readings.flag.tolist() == [[9, 2], [9, 2], [2, 2]]
    assert readings.reason.tolist() == [[Reason.UNPARSABLE, 0], [Reason.UNPARSABLE, 0], [0, 0]]
    assert losses == {}
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'in.csv'}:2: a: 'oops' is no number",
        f"{tmp_path / 'in.csv'}:3: a: '1_0' is no number",
    ]


async def test_a_malformed_row_is_counted_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row of another width or without a time is lost, counted, and reported with file and line."""
    text = 't,a,b\n1,1,1\n2,2\nlater,3,3\n4,4,4,4\n5,5,"5\n6,6,6\n'
    with caplog.at_level(logging.WARNING):
        readings, losses = await replayed(tmp_path, text)
    assert table(readings) == [[1, 1], [5, 5], [6, 6]]  # the open quote costs nothing behind its line
    assert losses == {"malformed_row": 3}
    messages = [record.getMessage().removeprefix(f"{tmp_path / 'in.csv'}:") for record in caplog.records]
    assert sorted(messages) == [
        "3: 2 cells, but the header has 3",
        "4: no time can be read from 'later'",
        "5: 4 cells, but the header has 3",
    ]


async def test_reports_do_not_flood_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After twenty reports of one file the rest is one sentence; all are counted."""
    with caplog.at_level(logging.WARNING):
        _, losses = await replayed(tmp_path, "t,a,b\n" + "x,1,1\n" * 500)
    assert losses == {"malformed_row": 500}
    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == f"{tmp_path / 'in.csv'}: 480 more malformed rows or cells"


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20), st.sampled_from([".", ","]))
def test_values_are_bit_exact(values: list[float], decimal: str) -> None:
    """Law: a number written by Python is read back bit for bit."""
    texts = [repr(value).replace(".", decimal) for value in values]
    numbers = Cells(decimal).read(texts, (len(values), 1))
    assert numbers.value.ravel().tobytes() == np.array(values).tobytes()
    assert not numbers.unparsable.any()


@given(st.lists(st.text(st.sampled_from("0123456789.,-+eE_naNif x"), max_size=6), min_size=1, max_size=8))
def test_a_cell_is_read_alike_whatever_stands_beside_it(texts: list[str]) -> None:
    """Law: the fast way for whole tables and the slow way for odd cells agree."""
    cells = Cells(".", ("-1", "x"))
    together = cells.read(texts, (len(texts), 1))
    for position, text in enumerate(texts):
        alone = cells.read([text], (1, 1))
        assert alone.value.tobytes() == together.value[position].tobytes()
        assert alone.unparsable[0, 0] == together.unparsable[position, 0]


def test_thousands_are_not_guessed() -> None:
    """With a decimal comma, a point is no decimal: 1.234 might mean a thousand."""
    assert Cells(",").read(["1.234", "1,5"], (1, 2)).unparsable.tolist() == [[True, False]]


def test_columns_are_found_or_named() -> None:
    """By name, by name without blanks, by position; a doubtful name is a mistake with the way out."""
    names = ["t", " PAR", "Water (1)", " Water (1)", "x"]
    path = Path("m.csv")
    assert [find_column(names, n, path) for n in ("PAR", " PAR", "Water (1)", " Water (1)", "#5")] == [1, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match=r"no column 'Pr'; columns here: 't', ' PAR'"):
        find_column(names, "Pr", path)
    with pytest.raises(ConfigError, match=r"did you mean 'Water \(1\)'"):
        find_column(names, "Water(1)", path)
    with pytest.raises(ConfigError, match=r"2 columns are called 'a'.*#1, #2"):
        find_column(["a", "a"], "a", path)
    with pytest.raises(ConfigError, match="no column #9: there are 5"):
        find_column(names, "#9", path)


async def test_realtime_waits_as_long_as_the_file_says(tmp_path: Path) -> None:
    """At speed 2 half the recorded time passes; a clock that steps back in the file waits for nothing."""
    path = tmp_path / "in.csv"
    path.write_text("t,a,b\n100,0,0\n110,0,0\n105,0,0\n112,0,0\n130,0,0\n")
    time = VirtualTime()
    config = ReplayConfig(path=path, time_format="s", speed=2.0)
    batches = await drain(config.open(schema_of(AB), AB, rows_max=100, clock=time.clock))
    assert time.now_s == pytest.approx(15.0)
    assert [len(batch.readings) for batch in batches] == [1, 2, 1, 1]


async def test_a_file_that_was_changed_is_not_resumed(tmp_path: Path) -> None:
    """An offset means a place in one file: another file under its name, or a shorter one, is refused."""
    path = tmp_path / "in.csv"
    path.write_text("t,a,b\n1,1,1\n2,2,2\n3,3,3\n")
    config = ReplayConfig(path=path, time_format="s", speed="flat_out")

    def opened() -> object:
        return config.open(schema_of(AB), AB, rows_max=1, clock=VirtualTime().clock)

    offset = (await drain(opened(), 2))[-1].offset  # type: ignore[arg-type]
    path.write_text("t,a,b\n1,1,1\n2,2,2\n3,3,3\n4,4,4\n")  # grown: fine
    opened().resume(offset)  # type: ignore[attr-defined]
    for text in ("t,a,b\n1,1,1\n", "t,a,b\n1,1,1\n2,2,7\n3,3,3\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is not the file this replay began with"):
            opened().resume(offset)  # type: ignore[attr-defined]


async def test_what_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    """A file that is not there, is empty or a folder, is said in one line that names it."""
    (tmp_path / "empty.csv").write_text("")
    for name, message in (("none.csv", "cannot be read"), ("empty.csv", "no header"), (".", "cannot be read")):
        source = ReplayConfig(path=tmp_path / name).open(schema_of(AB), AB, rows_max=9, clock=VirtualTime().clock)
        with pytest.raises(ConfigError, match=message):
            await drain(source)


async def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    """Three megabytes without a line end are one malformed row."""
    readings, losses = await replayed(tmp_path, b"t,a,b\n1,1,1\n" + b"," * (3 << 20) + b"\n2,2,2\n")
    assert table(readings) == [[1, 1], [2, 2]]
    assert losses in ({}, {"malformed_row": 1})


async def test_skab_is_read_bit_for_bit(data_folder: Path) -> None:
    """All rows of a real test bed come out as Python reads them."""
    path = data_folder / "skab" / "valve1" / "1.csv"
    names = ["Accelerometer1RMS", "Pressure", "Volume Flow RateRMS"]
    channels = [ChannelConfig(name=name) for name in names]
    config = ReplayConfig(path=path, separator=";", speed="flat_out")
    readings = joined(await drain(config.open(schema_of(channels), channels, rows_max=77)), schema_of(channels))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert readings.value.tolist() == [[float(row[name]) for name in names] for row in rows]
    expected = [round(datetime.fromisoformat(row["datetime"] + "+00:00").timestamp()) * 10**9 for row in rows]
    assert readings.time_ns.tolist() == expected


async def test_a_dirty_greenhouse_is_read_whole(data_folder: Path) -> None:
    """A real logger with local times, two equal column names and clock steps: each row comes, none is mended."""
    path = data_folder / "greenhouse_verona" / "Greenhouse_1" / "Micro_1.csv"
    channels = [
        ChannelConfig(name="soil", column="Soil Temperature (°C)"),
        ChannelConfig(name="water 2", column="#7"),
        ChannelConfig(name="PAR", column="PAR (µmol/m²/s)"),
    ]
    config = ReplayConfig(
        path=path,
        time_column="Timestamp",
        time_format="%d/%m/%Y %H:%M:%S",
        zone="Europe/Rome",
        fold="earlier",
        speed="flat_out",
    )
    batches = await drain(config.open(schema_of(channels), channels, rows_max=600))
    readings = joined(batches, schema_of(channels))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert len(readings) + lost(batches).get("malformed_row", 0) == len([row for row in rows if any(row)])
    rome = ZoneInfo("Europe/Rome")
    wanted = [datetime.strptime(row[1], config.time_format).replace(tzinfo=rome) for row in rows]
    assert readings.time_ns.tolist() == [round(moment.timestamp()) * 10**9 for moment in wanted]
    assert np.array_equal(readings.value[:, 0], [float(row[2] or NAN) for row in rows], equal_nan=True)

"""Recordings to learn from: files and streams, and what in them may train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueline_cloud.learning.recordings import read_folder, read_readings
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000


def test_a_folder_of_csv_is_read_whatever_its_separator(tmp_path: Path) -> None:
    """Files come in order of time, labels are no channels and do not train, text is left aside."""
    (tmp_path / "b.csv").write_text(
        "datetime;flow;note;anomaly\n2026-03-01 00:00:10;1.5;x;0\n2026-03-01 00:00:11;2.5;y;1\n"
    )
    (tmp_path / "a.csv").write_text("datetime,flow,note,anomaly\n2026-03-02T00:00:00,3,x,0\n2026-03-02T00:00:01,,y,0\n")
    found = read_folder(tmp_path, labels="anomaly")
    assert [each.name for each in found] == ["b.csv", "a.csv"]
    assert found[0].series.channels == ("flow",)
    assert found[0].series.valid.tolist() == [[True], [False]]
    assert found[0].anomalous is not None
    assert found[0].anomalous.tolist() == [False, True]
    assert found[1].series.valid.tolist() == [[True], [False]]
    assert np.diff(found[0].series.time_ns).tolist() == [S]


def test_labels_are_never_channels(tmp_path: Path) -> None:
    """A column of labels that nobody asked for does not leak into what a network sees."""
    (tmp_path / "a.csv").write_text("flow,anomaly,changepoint\n1,0,0\n2,1,1\n")
    (only,) = read_folder(tmp_path)
    assert only.series.channels == ("flow",)
    assert only.anomalous is None


def test_what_export_writes_trains_where_its_flags_allow(tmp_path: Path) -> None:
    """Pass and not evaluated train; suspect, failed and missing do not."""
    rows = "".join(f"{i * S},{i},0.1,{flag},0\n" for i, flag in enumerate((1, 2, 3, 4, 9)))
    (tmp_path / "a.csv").write_text("time_ns,p,p.u,p.flag,p.reason\n" + rows)
    (only,) = read_folder(tmp_path / "a.csv")
    assert only.series.channels == ("p",)
    assert only.series.valid[:, 0].tolist() == [True, True, False, False, False]


def test_the_unit_a_parquet_column_carries_is_the_channel_s(tmp_path: Path) -> None:
    """A model made from what export wrote fits the stream it came from: `trueline-edge check` compares units."""
    fields = [
        pa.field("time_ns", pa.int64()),
        pa.field("p", pa.float64(), metadata={"unit": "bar"}),
        pa.field("n", pa.int64()),
    ]
    columns = {"time_ns": np.arange(3) * S, "p": [1.0, 2.0, 3.0], "n": [1, 2, 3]}
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), tmp_path / "a.parquet")
    (only,) = read_folder(tmp_path)
    assert (only.series.channels, only.units) == (("p", "n"), ("bar", "1"))


def test_a_stream_of_the_store_trains_where_its_flags_allow() -> None:
    """As a file does, with the units of its channels, and cut where rows are not there."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="p", unit="bar"), Channel(name="t", unit="Cel")))
    times = np.r_[0:30, 100:130] * S
    readings = Readings.raw(schema, times, np.ones((60, 2)))
    bad = np.zeros((60, 2), bool)
    bad[3, 1] = True
    found = read_readings("d/s", [readings.flagged(bad, Flag.SUSPECT, Reason.SPIKE)], ["t"])
    assert [len(each.series) for each in found] == [30, 30]
    assert [each.units for each in found] == [("Cel",), ("Cel",)]
    assert found[0].series.valid[:, 0].sum() == 29


@pytest.mark.parametrize(
    ("files", "asked", "message"),
    [
        ({}, {}, "no .csv or .parquet file"),
        ({"a.csv": "note\nx\n"}, {}, "no column holds numbers"),
        ({"a.csv": "p\n1\n"}, {"channels": ["q"]}, "no channel is called 'q'; there are: p"),
        ({"a.csv": "p\n1\n"}, {"labels": "q"}, "no column is called 'q'"),
        ({"a.csv": "p\n1\n", "b.csv": "q\n1\n"}, {}, "name those all files have"),
        ({"a.csv": "time,p\nx,1\n"}, {}, "column 'time' holds no times"),
        ({"a.csv": "p,q\n1\n"}, {}, "cannot be read"),
    ],
)
def test_what_cannot_train_is_named(
    tmp_path: Path, files: dict[str, str], asked: dict[str, object], message: str
) -> None:
    """A mistake is told with the file, what is wrong, and what there is."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_folder(tmp_path, **asked)  # type: ignore[arg-type]  # each case its own


def test_a_stream_without_readings_is_named() -> None:
    """Nothing stored is no error of ours, and is said."""
    with pytest.raises(ConfigError, match="no reading is stored"):
        read_readings("d/s", [])

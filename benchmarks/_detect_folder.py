"""Any labelled folder: CSV or Parquet files, one recording each, with a column that is not 0 where a row is anomalous.

Training: the first 30 % of the rows of each, taken to be normal running. Nothing is asked of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from _detect_case import Case, LabelledSet

from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = 0.3


def folder_set(labels: str, interval_s: float = 1.0) -> LabelledSet:
    """A set of the files in a folder.

    Args:
        labels: name of the column.
        interval_s: between rows; times in the files are not read.
    """

    def read(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
        """The recordings.

        Raises:
            ConfigError: no file, one without the column, or without a column of numbers beside it.
        """
        files = sorted(file for file in folder.rglob("*") if file.suffix in {".csv", ".parquet"})
        if not files:
            raise ConfigError(f"{folder}: no .csv or .parquet file is there")
        return [_case(file, str(file.relative_to(folder)), labels, interval_s) for file in files]

    return LabelledSet("", read, lambda _name: True, lambda _found: iter(()))


def _case(file: Path, name: str, labels: str, interval_s: float) -> Case:
    read = pa.csv.read_csv if file.suffix == ".csv" else pa.parquet.read_table
    table = read(file)
    if labels not in table.column_names:
        raise ConfigError(f"{file}: no column is called {labels!r}; it has: {', '.join(table.column_names)}")
    channels = [
        each.name
        for each in table.schema
        if each.name != labels
        and not each.name.lower().startswith(("time", "date"))
        and (pa.types.is_floating(each.type) or pa.types.is_integer(each.type))
    ]
    if not channels:
        raise ConfigError(f"{file}: no column of numbers stands beside {labels!r}")
    value = np.column_stack([table[each].to_numpy().astype(np.float64) for each in channels])
    label = np.nan_to_num(table[labels].to_numpy().astype(np.float64)) != 0.0
    series, cut = make_series(value, interval_s=interval_s, channels=channels), round(TRAIN * len(value))
    return Case(name, series[:cut], series[cut:], label[cut:])

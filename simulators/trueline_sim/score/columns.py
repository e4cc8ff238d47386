"""A table on disk, a column at a time: Parquet as it is, CSV by way of a temporary Parquet file.

Promises: a file is never in memory as a whole, only the rows and columns asked for. Refuses to know what they mean.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Columns"]

_ROWS: Final = 1 << 18
_CSV_BLOCK: Final = 8 << 20
_INTEGERS: Final = {"time_ns": pa.int64(), "row": pa.int64(), "reason": pa.int64()}


class Columns:
    """Read side of a table.

    Args:
        path: `.parquet`, or `.csv` with a header.

    Raises:
        ConfigError: it is not there, or is no such table.

    Attributes:
        path: as given.
        bytes: of the file.
        rows: in the file.
        names: of its columns, in order.
        metadata: what its writer said about it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.bytes = path.stat().st_size
            self._file = pq.ParquetFile(_as_parquet(path) if path.suffix == ".csv" else path)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{path}: not a table of readings: {error}") from error
        self.rows: int = self._file.metadata.num_rows
        self.names: list[str] = self._file.schema_arrow.names
        metadata = self._file.schema_arrow.metadata or {}
        self.metadata = {key.decode(): text.decode() for key, text in metadata.items() if key != b"ARROW:schema"}

    def numbers(self, name: str, dtype: type[np.generic], rows: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """A column of numbers; what is empty becomes NaN.

        Args:
            name: of the column.
            dtype: of the array.
            rows: which to take; None: all.
        """
        parts, at = [], 0
        for column in self._batches(name):
            here = None if rows is None else rows[at : at + len(column)]
            at += len(column)
            if here is None or here.any():
                array = column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
                parts.append(array if here is None else array[here])
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    def codes(self, name: str, known: Mapping[str, int]) -> NDArray[np.int32]:
        """A column of names as numbers; -1 for those not known."""
        parts = []
        for batch in self._batches(name):
            column = batch if pa.types.is_dictionary(batch.type) else pc.cast(batch, pa.string()).dictionary_encode()
            table = [known.get(str(text), -1) for text in column.dictionary.to_pylist()]
            indices = column.indices.fill_null(len(table)).to_numpy(zero_copy_only=False)
            parts.append(np.array([*table, -1], np.int32)[indices])
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def values(self, name: str) -> list[str]:
        """The different texts in a column, sorted."""
        found: set[str] = set()
        for batch in self._batches(name):
            found |= {str(text) for text in pc.unique(batch).to_pylist() if text is not None}
        return sorted(found)

    def holds(self, name: str, wanted: tuple[int, ...]) -> bool:
        """Whether some cell of a column is one of these."""
        return any(pc.any(pc.is_in(batch, pa.array(wanted, batch.type))).as_py() for batch in self._batches(name))

    def _batches(self, name: str) -> Iterator[Any]:
        # Iterating a column of one name reads nothing else from the disk.
        for batch in self._file.iter_batches(batch_size=_ROWS, columns=[name]):
            yield batch.column(0)


def _as_parquet(path: Path) -> Any:
    """A copy, open; its name is gone already, so that nothing stays behind."""
    with path.open("rb") as file:
        names = file.readline().decode().strip().split(",")
    # Types by name, not by guess: the first block may hold empty fields only.
    types = {name.strip('"'): _type(name.strip('"')) for name in names}
    convert = pcsv.ConvertOptions(column_types=types, strings_can_be_null=False)
    with tempfile.TemporaryDirectory(prefix="trueline-score-") as folder:
        copy = Path(folder) / "table.parquet"
        with (
            pcsv.open_csv(
                path, read_options=pcsv.ReadOptions(block_size=_CSV_BLOCK), convert_options=convert
            ) as batches,
            pq.ParquetWriter(copy, batches.schema, compression="zstd", compression_level=1) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        return pa.OSFile(str(copy))


def _type(name: str) -> pa.DataType:
    if name in {"device", "stream", "channel"}:
        return pa.string()
    if name.endswith((".reason", ":reason")):
        return pa.int64()
    if name == "flag" or name.endswith(".flag") or name.startswith("flag:"):
        return pa.uint8()
    return _INTEGERS.get(name, pa.float64())

"""A recording: readings, truth and labels of a world, in a folder of Parquet files.

    manifest.json      scenario, seed, versions, channels, the ranges it was drawn from
    readings.parquet   device, row, time_ns (as stamped), value:NAME for each channel; what came out, duplicates and all
    truth.parquet      the same rows in the same order: device, row, time_ns, time_true_ns, truth:NAME
    labels.parquet     device, channel ("" for all), kind, is_process, start_ns, end_ns, magnitude

`row` is the number of the step the row was sampled at: a number that is missing is a row that was lost, a number that
comes twice is a duplicate. Rows of one device are in the order the device reported them.

Promises: memory stays bounded, and the same world gives the same files. Refuses to know who reads them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LABELS", "MANIFEST", "READINGS", "TRUTH", "TRUTH_PREFIX", "VALUE_PREFIX"]

MANIFEST: Final = "manifest.json"
READINGS: Final = "readings.parquet"
TRUTH: Final = "truth.parquet"
LABELS: Final = "labels.parquet"

VALUE_PREFIX: Final = "value:"
TRUTH_PREFIX: Final = "truth:"

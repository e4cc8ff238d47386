from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueline_sim.verdict import Exported, Verdict, count_export, judge

_AGENT = {"rows_sampled": 100, "rows_spooled": 100, "rows_lost": {}, "rows_dropped": 0}
_LANE = {
    "verdict": "complete",
    "rows_thinned": 0,
    "rows_quarantined": 0,
    "rows_pending": 0,
    "missing_by_reason": {},
    "bytes": 800,
    "values": 400,
}


def _judge(rows: int, doubled: int = 0, *, agent: dict[str, object] | None = None, **lane: object) -> Verdict:
    return judge([_AGENT | (agent or {})], [_LANE | lane], [Exported(rows, doubled)])


def test_all_there_once() -> None:
    """All spooled rows stored once is ok."""
    verdict = _judge(100)
    assert verdict.ok
    assert (verdict.readings_stored, verdict.missing, verdict.duplicates, verdict.bytes_per_value) == (100, 0, 0, 2.0)


def test_a_row_less_is_not_ok() -> None:
    """A single row that is not in the export and not accounted for spoils the verdict."""
    assert not _judge(99).ok
    assert _judge(99).missing == 1


def test_a_row_twice_is_not_ok() -> None:
    """A row stored twice spoils the verdict, though nothing is missing."""
    assert not _judge(100, doubled=1).ok


def test_one_lost_and_one_doubled_do_not_cancel() -> None:
    """Equal totals hide nothing."""
    verdict = _judge(99, doubled=1)
    assert (verdict.missing, verdict.duplicates, verdict.ok) == (1, 1, False)


def test_what_was_dropped_for_a_reason_is_explained() -> None:
    """Rows the ledger names as dropped are no secret, and are shown."""
    verdict = _judge(90, missing_by_reason={"dropped": 10})
    assert verdict.ok
    assert verdict.dropped_by_reason == {"dropped": 10}


def test_a_sampled_row_must_be_spooled_or_counted() -> None:
    """Sampled rows that were neither spooled nor counted as lost spoil the verdict."""
    assert not _judge(100, agent={"rows_sampled": 101}).ok
    assert _judge(100, agent={"rows_sampled": 101, "rows_lost": {"overrun": 1}}).ok
    assert _judge(100, agent={"rows_sampled": 103, "rows_insignificant": 3}).ok


def test_nothing_at_all_is_not_ok() -> None:
    """A run that stored nothing has shown nothing."""
    assert not _judge(0, agent={"rows_sampled": 0, "rows_spooled": 0}).ok


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_exports_are_counted(extra: int, tmp_path: Path) -> None:
    """Different rows and doubled rows are told apart."""
    path = tmp_path / "export.parquet"
    pq.write_table(pa.table({"time_ns": [*range(50), *range(extra)]}), path)
    assert count_export(path) == Exported(50, extra, last_ns=49)

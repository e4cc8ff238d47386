"""The verdict of a run: what the agents say they spooled, against what the cloud's export gives back.

Promises: every number is counted here from the agents' own last words, the ledger and the exported rows; nothing is
assumed. A row stored twice is a duplicate even where the totals agree. Refuses to know how the run went.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from trueline_sim.demo_findings import Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Exported", "Verdict", "count_export", "judge"]


class Exported(NamedTuple):
    """What an export holds of one stream."""

    rows: int
    """Different rows (one sampling of all channels at one time)."""
    doubled: int
    """Rows that are there once more than they should be."""
    events: bool = False
    """They tell of events: copies of rows that another stream holds, beside what was said of them."""
    last_ns: int = 0
    """Time of the last one."""


def count_export(path: Path) -> Exported:
    """Count the rows of one stream's Parquet export, by their times: our sources never sample twice at one time.

    A row that tells of an event is another one for each event and phase it is told with.
    """
    names = pq.read_schema(path).names
    said = [name for name in names if name.endswith((".event.begun", ".event.phase"))]
    table = pq.read_table(path, columns=["time_ns", *said])
    times = np.asarray(table["time_ns"])
    keys = np.stack([times, *(np.asarray(table[name]).astype(np.int64) for name in said)])
    rows = len(np.unique(keys, axis=1).T)
    return Exported(rows, len(times) - rows, events=bool(said), last_ns=int(times.max(initial=0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Is everything there, and nothing twice? Counts are readings rows unless named otherwise.

    Attributes:
        devices: how many.
        readings_sampled: the agents say they sampled.
        readings_spooled: the agents say they spooled: from here on nothing may be lost in silence.
        readings_stored: different rows in the export.
        dropped_by_reason: rows that are accounted for without being stored, and why.
        missing: spooled, not stored, and not accounted for.
        duplicates: rows stored twice, in the export.
        event_rows: of those stored, the ones that tell of events.
        waiting: rows still in the spools when the agents stopped.
        bytes_per_value: whole signed messages as stored, over values stored.
        ledgers: lanes by the ledger's own verdict.
        findings: what was found of what was injected; not part of `ok`, which is about delivery.
        ok: spooled = stored + dropped, sampled = spooled + lost before the spool, nothing missing, nothing twice.
    """

    devices: int
    readings_sampled: int
    readings_spooled: int
    readings_stored: int
    dropped_by_reason: dict[str, int]
    missing: int
    duplicates: int
    event_rows: int
    waiting: int
    bytes_per_value: float | None
    ledgers: dict[str, int]
    ok: bool
    findings: Findings = field(default_factory=Findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def in_words(self) -> str:
        """For a person."""
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped_by_reason.items()) or "none"
        size = "-" if self.bytes_per_value is None else f"{self.bytes_per_value:.2f}"
        waiting = (
            f"\n  waiting    {self.waiting:,} in the spools; they would go at the next start" if self.waiting else ""
        )
        found = self.findings
        events = (
            f"\n  events     {found.found:,} of {found.injected:,} injected faults and anomalies found, "
            f"{found.told:,} told apart rightly;\n             {found.named:,} of {found.faults:,} sensors at fault "
            f"named; {found.others:,} false alarms"
        )
        return (
            f"verdict: {'ok' if self.ok else 'NOT OK'}\n"
            f"  sampled    {self.readings_sampled:,} rows by {self.devices} devices\n"
            f"  spooled    {self.readings_spooled:,}\n"
            f"  stored     {self.readings_stored:,} ({size} bytes a value, signed and framed){waiting}\n"
            f"  dropped    {dropped}\n"
            f"  missing    {self.missing:,}\n"
            f"  duplicates {self.duplicates:,}"
            f"{events if found.injected or found.others else ''}"
        )


def judge(
    agents: Sequence[Mapping[str, Any]], lanes: Sequence[Mapping[str, Any]], exports: Iterable[Exported]
) -> Verdict:
    """Put the three accounts side by side.

    Args:
        agents: the last words of each agent (`trueline-edge run --json`).
        lanes: the ledger (`trueline-cloud ledger --json`).
        exports: one for each stream.
    """
    exported = list(exports)
    sampled, spooled = (sum(int(agent[key]) for agent in agents) for key in ("rows_sampled", "rows_spooled"))
    left_out = sum(int(agent.get("rows_insignificant", 0)) for agent in agents)
    stored = sum(stream.rows for stream in exported)
    duplicates = sum(stream.doubled for stream in exported)
    before = _sum_maps(agent["rows_lost"] for agent in agents)
    after = _sum_maps(lane["missing_by_reason"] for lane in lanes)
    after |= {
        reason: count
        for reason in ("thinned", "quarantined")
        if (count := sum(int(lane[f"rows_{reason}"]) for lane in lanes))
    }
    values = sum(int(lane["values"]) for lane in lanes)
    missing = spooled - stored - sum(after.values())
    ledgers: dict[str, int] = {}
    for lane in lanes:
        ledgers[lane["verdict"]] = ledgers.get(lane["verdict"], 0) + 1
    return Verdict(
        devices=len(agents),
        readings_sampled=sampled,
        readings_spooled=spooled,
        readings_stored=stored,
        dropped_by_reason=_sum_maps([before, after]),
        missing=missing,
        duplicates=duplicates,
        event_rows=sum(stream.rows for stream in exported if stream.events),
        waiting=sum(int(lane["rows_pending"]) for lane in lanes),
        bytes_per_value=round(sum(int(lane["bytes"]) for lane in lanes) / values, 3) if values else None,
        ledgers=ledgers,
        ok=missing == 0 and duplicates == 0 and stored > 0 and sampled == spooled + left_out + sum(before.values()),
    )


def _sum_maps(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in maps:
        for reason, count in each.items():
            total[reason] = total.get(reason, 0) + int(count)
    return total

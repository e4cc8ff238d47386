"""What was found of what was injected: the schedule beside the events that the devices told, counted.

Promises: an event is held against what was scheduled by its device and time alone; what it says is then right or wrong.
An event that belongs to nothing scheduled is counted as such. Refuses to know how an event comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trueline_sim.demo_injections import Injection

__all__ = ["Findings", "count_findings", "in_words"]

EARLY_S: Final = 0.25
LATE_S: Final = 2.0
"""An event belongs to what was injected when it begins between so long before it and so long after its end: recovery
is as sudden as the fault was."""

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Counts.

    Attributes:
        injected: faults and anomalies whose time had come.
        found: those with an event.
        told: found, and told rightly whether the sensor is at fault or the process.
        faults: found faults of a sensor.
        named: those told rightly, with the right sensor named.
        others: events that belong to nothing injected: false alarms.
    """

    injected: int = 0
    found: int = 0
    told: int = 0
    faults: int = 0
    named: int = 0
    others: int = 0


def count_findings(
    injected: Iterable[Injection],
    events: Sequence[Mapping[str, Any]],
    *,
    devices: Sequence[str],
    start_ns: int,
    seen_ns: Mapping[str, int],
) -> Findings:
    """Hold events against a schedule.

    Args:
        injected: the schedule.
        events: as /api/v1/events answers them.
        devices: ids, by number.
        start_ns: of the schedule.
        seen_ns: time of each device's last row: what was to come later never came.
    """
    free = {id(event): event for event in events}
    counts = dict.fromkeys(Findings.__slots__, 0)
    for one in injected:
        device = devices[one.device]
        first, last = (start_ns + round(at_s * _NS) for at_s in (one.start_s - EARLY_S, one.end_s + LATE_S))
        if last > seen_ns.get(device, 0):
            continue
        mine = [event for event in events if event["device"] == device and first <= event["begun_us"] * 1000 <= last]
        for event in mine:
            free.pop(id(event), None)
        counts["injected"] += 1
        if not mine:
            continue
        told = mine[0 if mine[0]["begun_us"] <= mine[-1]["begun_us"] else -1]
        right = told["what"] == ("sensor fault" if one.channel else "process anomaly")
        counts["found"] += 1
        counts["told"] += right
        counts["faults"] += bool(one.channel)
        counts["named"] += bool(one.channel) and right and told["channel"] == one.channel
    return Findings(**{**counts, "others": len(free)})


def in_words(event: Mapping[str, Any]) -> str:
    """An event in a line."""
    kind = f" ({event['kind'].replace('_', ' ')})" if event["kind"] else ""
    sure = "" if event["confidence"] is None else f", confidence {event['confidence']:.2f}"
    return f"{event['device']}: {event['what'] or 'something strange'}, {event['channel']}{kind}{sure}"

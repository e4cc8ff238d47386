"""Looking at a running site from outside, as a user could: the agents' /metrics and the cloud's ledger over HTTP.

Promises: never fails because somebody does not answer; the last numbers heard stay. Loopback only.
"""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Snapshot", "Watch"]

_TIMEOUT_S: Final = 1.0
_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+([-+0-9.eEinfNa]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The site at one moment. Counts are readings rows; the cloud's may be older than the agents'."""

    sampled: int = 0
    spooled: int = 0
    stored: int = 0
    missing: int = 0
    values: int = 0
    bytes: int = 0
    cloud_answers: bool = False

    @property
    def pending(self) -> int:
        """Spooled by the agents, not yet stored by the cloud."""
        return max(self.spooled - self.stored - self.missing, 0)

    @property
    def bytes_per_value(self) -> float | None:
        """Whole messages as stored, over values stored."""
        return self.bytes / self.values if self.values else None


@dataclass(slots=True)
class Watch:
    """Asks once for each `snapshot`.

    Args:
        cloud_port: where the cloud's HTTP is.
        agent_ports: where each agent's /metrics is.
    """

    cloud_port: int
    agent_ports: Mapping[str, int]
    _agents: dict[str, dict[str, float]] = field(default_factory=dict)
    _lanes: list[dict[str, Any]] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        """Ask everybody; who does not answer is remembered as last heard."""
        answer = _get(self.cloud_port, "/api/v1/ledger")
        if answer:
            self._lanes = json.loads(answer)["lanes"]
        for device, port in self.agent_ports.items():
            if text := _get(port, "/metrics"):
                self._agents[device] = _metric_sums(text.decode())

        def agents(name: str) -> int:
            return round(sum(metrics.get(name, 0.0) for metrics in self._agents.values()))

        def lanes(name: str) -> int:
            return sum(int(lane[name]) for lane in self._lanes)

        # What is stored was spooled, what is spooled was sampled: also by an agent that ended before it could say so.
        stored = lanes("rows_stored")
        spooled = max(agents("trueline_rows_spooled_total"), stored)
        return Snapshot(
            sampled=max(agents("trueline_rows_sampled_total"), spooled),
            spooled=spooled,
            stored=stored,
            missing=lanes("rows_missing"),
            values=lanes("values"),
            bytes=lanes("bytes"),
            cloud_answers=answer is not None,
        )

    def events(self, start_ns: int) -> list[dict[str, Any]]:
        """Events that began at or after a time, the oldest first; none where the cloud does not answer."""
        answer = _get(self.cloud_port, f"/api/v1/events?from={start_ns}&limit=1000")
        found: list[dict[str, Any]] = json.loads(answer)["events"] if answer else []
        return found[::-1]


def _get(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == http.client.OK else None


def _metric_sums(text: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums

"""What the ingest has done, as Prometheus text.

Promises: counters are read where they are counted, at the moment somebody asks. Refuses to know HTTP.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trueline_wire.delivery import ReceiverCounts

__all__ = ["Metrics"]

_LATENCIES_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Counters of one service, in a registry of their own.

    The gauges are functions that are set by whoever owns what they look at.

    Attributes:
        counts: what the receiver has counted.
        gauges: (name, help) -> a function that gives the value now.
        labelled: (name, help, label) -> a function that gives label -> value now.
    """

    def __init__(self) -> None:
        self.counts: ReceiverCounts | None = None
        self.gauges: dict[tuple[str, str], Callable[[], float]] = {}
        self.labelled: dict[tuple[str, str, str], Callable[[], dict[str, int]]] = {}
        self._bytes = 0
        self._quarantine = (0, 0)
        self._registry = CollectorRegistry()
        self._commit = Histogram(
            "trueline_commit_seconds",
            "Time from the start of a group commit until it was synced.",
            buckets=_LATENCIES_S,
            registry=self._registry,
        )
        self._registry.register(_Collector(self))

    def committed(self, duration_s: float, size: int) -> None:
        """A group of messages of `size` bytes was committed (or dropped: see the receiver's counts)."""
        self._commit.observe(duration_s)
        self._bytes += size

    def quarantine(self, records: int, size: int) -> None:
        """How much is kept aside."""
        self._quarantine = records, size

    def text(self) -> bytes:
        """All of it, in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """What a registry asks for."""
        if self.counts is not None:
            family = CounterMetricFamily(
                "trueline_receiver", "What became of received messages, by outcome.", labels=["outcome"]
            )
            for field in fields(self.counts):
                family.add_metric([field.name], getattr(self.counts, field.name))
            yield family
        yield CounterMetricFamily("trueline_ingest_bytes", "Bytes of messages in committed groups.", self._bytes)
        yield GaugeMetricFamily("trueline_quarantine_records", "Records kept aside.", self._quarantine[0])
        yield GaugeMetricFamily("trueline_quarantine_bytes", "Bytes of records kept aside.", self._quarantine[1])
        for (name, text), value in self.gauges.items():
            yield GaugeMetricFamily(name, text, value())
        for (name, text, label), values in self.labelled.items():
            labelled = CounterMetricFamily(name, text, labels=[label])
            for key, count in list(values().items()):
                labelled.add_metric([key], count)
            yield labelled


class _Collector:
    def __init__(self, metrics: Metrics) -> None:
        self.collect = metrics.collect

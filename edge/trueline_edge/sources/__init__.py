"""Sources: a foreign protocol -> batches of Readings, asynchronously.

The sources a configuration may name stand in `SourceConfig`; a new one is one file and one name in this list.
"""

from trueline_edge.sources.join import JoinConfig, JoinInput
from trueline_edge.sources.mqtt import MqttSourceConfig
from trueline_edge.sources.replay import ReplayConfig
from trueline_edge.sources.simulated import SimulatedConfig
from trueline_edge.sources.source import SYSTEM_CLOCK, Batch, ChannelConfig, Clock, Source

__all__ = [
    "SYSTEM_CLOCK",
    "Batch",
    "ChannelConfig",
    "Clock",
    "JoinConfig",
    "JoinInput",
    "MqttSourceConfig",
    "ReplayConfig",
    "SimulatedConfig",
    "Source",
    "SourceConfig",
]

SourceConfig = ReplayConfig | SimulatedConfig | MqttSourceConfig | JoinConfig
"""Each has `open(schema, channels, *, rows_max, clock=SYSTEM_CLOCK) -> Source`."""

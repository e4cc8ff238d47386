"""Links: oldest unacknowledged frame -> link -> acknowledgement.

Promises: one active link at a time, chosen by the order of the configuration; whatever a link's peer does, the agent
goes on. A protocol's library is imported where a link of it is configured, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueline_edge.publish.config import CoapLinkConfig, LinkConfig, MqttLinkConfig
from trueline_edge.publish.failover import Failover

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from trueline_edge.publish.link import Link

__all__ = ["Failover", "make_link"]


def make_link(configs: Sequence[LinkConfig], device: str, *, rng: random.Random) -> Link:
    """The links of a configuration, in its order, as one.

    Args:
        configs: at least one.
        device: the device's id.
        rng: gives the jitter.
    """
    links = [_make_one(config, device, rng) for config in configs]
    return links[0] if len(links) == 1 else Failover(links)


def _make_one(config: MqttLinkConfig | CoapLinkConfig, device: str, rng: random.Random) -> Link:
    if isinstance(config, MqttLinkConfig):
        from trueline_edge.publish.mqtt import MqttLink  # noqa: PLC0415 - not paid for where it is not configured

        return MqttLink(config, device, rng=rng)
    from trueline_edge.publish.coap import CoapLink  # noqa: PLC0415 - as above

    return CoapLink(config, device, rng=rng)

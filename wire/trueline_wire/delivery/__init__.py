"""The two state machines of delivery, without I/O, clocks or randomness of their own.

`Sender` sits between a spool and a link, `Receiver` between links and a store. Both reach durability only through two
ports, which the agent implements on SQLite, the cloud on its journal, simulators and tests in memory.

Promises: a row whose `Spool.append` returned is stored once, or it is counted under a reason, whatever is killed,
lost, wiped, doubled or reordered in between. Refuses to know what a row says. The rules are in docs/wire.md; those
that are needed are each shown to be so in docs/delivery-rules.md.
"""

from trueline_wire.delivery.ports import (
    Conflict,
    EpochState,
    Group,
    LaneState,
    Quarantined,
    Spool,
    SpoolFull,
    SpoolRow,
    Store,
    StoredFrame,
    StoreFull,
)
from trueline_wire.delivery.receiver import Receiver, ReceiverCounts, Reply
from trueline_wire.delivery.sender import INSIGNIFICANT, Outgoing, Sender, SenderCounts, Transmit
from trueline_wire.delivery.window import SenderLimits

__all__ = [
    "INSIGNIFICANT",
    "Conflict",
    "EpochState",
    "Group",
    "LaneState",
    "Outgoing",
    "Quarantined",
    "Receiver",
    "ReceiverCounts",
    "Reply",
    "Sender",
    "SenderCounts",
    "SenderLimits",
    "Spool",
    "SpoolFull",
    "SpoolRow",
    "Store",
    "StoreFull",
    "StoredFrame",
    "Transmit",
]

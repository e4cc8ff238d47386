"""A word to devices that were there before us: how far we have come.

A device whose acknowledgement was lost with a cloud that died waits for its timer, which may have grown to minutes. The
broker tells a new subscriber who is online (retained presence); an acknowledgement without progress makes a sender send
again from its floor, at most once a round trip. It grants little credit, so that a fleet does not answer all at once.

Promises: what is acknowledged is committed. Nothing depends on a greeting but time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trueline_wire.control import Ack
from trueline_wire.envelope import Lane

if TYPE_CHECKING:
    from trueline_cloud.storage.journal import Journal
    from trueline_wire.keys import Signer

__all__ = ["Greeter"]

_EPOCHS_MAX: Final = 8
_CREDIT: Final = 8


class Greeter:
    """Makes greetings.

    Args:
        journal: knows how far we have come.
        signer: the cloud's key.
    """

    def __init__(self, journal: Journal, signer: Signer) -> None:
        self._journal = journal
        self._signer = signer

    def acks(self, device: str) -> list[bytes]:
        """An acknowledgement for each epoch the device may be sending; none for a device we have never heard."""
        made = []
        for lane in Lane:
            epochs = self._journal.lane(device, lane).epochs
            newest = epochs[-1:]
            unfinished = [epoch for epoch in epochs[:-1] if epoch.end is None or epoch.last < epoch.end]
            for epoch in (*unfinished[1 - _EPOCHS_MAX :], *newest):
                ack = Ack(device, lane, epoch.epoch, self._journal.journal, epoch.last, credit=_CREDIT)
                made.append(ack.seal(self._signer))
        return made

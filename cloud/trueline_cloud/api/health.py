"""Is the service well? From what it knows of itself to a yes or a no with its reason.

The service's `health()` gives a dictionary of facts; those it leaves out are not judged:

    ingest_alive        bool          the ingest thread runs
    last_commit_age_s   float | None  since the last commit, s; None before the first
    waiting_age_s       float | None  how long the oldest message waits for its commit, s; None when none waits
    broker_connected    bool | None   None where no broker is configured
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Health", "verdict_of"]

WAITING_AGE_MAX_S: Final = 30.0
"""A message that waits so long for its commit means that the store is stuck, s."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether all is well, the reasons why not, and the facts behind it."""

    ok: bool
    reason: str
    facts: dict[str, Any]


def verdict_of(facts: Mapping[str, Any]) -> Health:
    """Judge the facts. A fleet that sends nothing is well: the age of the last commit alone says nothing."""
    reasons = []
    if facts.get("ingest_alive") is False:
        reasons.append("the ingest thread has ended")
    waiting_s = facts.get("waiting_age_s")
    if waiting_s is not None and waiting_s > WAITING_AGE_MAX_S:
        reasons.append(f"a message has been waiting {waiting_s:.0f} s for its commit")
    if facts.get("broker_connected") is False:
        reasons.append("the broker is not connected")
    return Health(ok=not reasons, reason="; ".join(reasons) or "well", facts=dict(facts))

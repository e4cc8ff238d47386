"""Telling systemd: READY, WATCHDOG, STOPPING (sd_notify(3)), without a library.

Promises: silence where there is no systemd; never an error because of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Notifier"]


class Notifier:
    """The service manager's socket.

    Args:
        environment: holds NOTIFY_SOCKET and WATCHDOG_USEC where systemd started the process.

    Attributes:
        watchdog_s: how often the watchdog wants to hear from us, at least; None where there is none.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.watchdog_s = int(usec) / 1e6 if address and usec.isdigit() and int(usec) > 0 and mine else None

    def ready(self) -> None:
        """The agent is at work."""
        self._send("READY=1")

    def alive(self) -> None:
        """Loop and spool both make progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent is bringing its rows to safety and will end."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.settimeout(1.0)
            out.sendto(state.encode(), self._address)

"""Named places at which a crash test may end this process, as a power cut would.

Promises: without `TRUELINE_CRASH_AT` in the environment, `reach` does nothing. With `TRUELINE_CRASH_AT=<point>` the
process is killed (SIGKILL) when it first comes to that point, with `<point>:<n>` the n-th time. The points, in the
order a frame passes them: after_receive, after_decode, before_commit, in_commit, after_commit, after_ack.
"""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["VARIABLE", "reach"]

VARIABLE: Final = "TRUELINE_CRASH_AT"

_point, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def reach(point: str) -> None:
    """The process has come to this point."""
    global _left  # noqa: PLW0603 - how often one process came here
    if point != _point:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

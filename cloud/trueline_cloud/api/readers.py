"""Questions to the store off the event loop: a few threads, each with its own reader, and a bounded number waiting.

Promises: a slow question holds up no heartbeat and no commit; when more wait than can be served soon, the next is told
so at once. Refuses to know what is asked.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from trueline_cloud.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_cloud.storage.store import Reader

__all__ = ["Readers"]

_THREADS: Final = 2
_WAITING_MAX: Final = 64

_T = TypeVar("_T")


class Readers:
    """A small pool of readers.

    Args:
        open_reader: opens one, in the thread that will use it.
    """

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open = open_reader
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._opened: list[Reader] = []
        self._asked = 0

    async def ask(self, question: Callable[[Reader], _T], *, ours: bool = False) -> _T:
        """Run a question in one of the threads; one of `ours` (of which there is one at a time) is never turned away.

        Raises:
            ProblemError: too many are waiting already.
        """
        if self._asked >= _WAITING_MAX and not ours:
            raise ProblemError(
                503, "too many questions are waiting", "ask again in a second, or ask for less at a time"
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="reader")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
        finally:
            self._asked -= 1

    def _answer(self, question: Callable[[Reader], _T]) -> _T:
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._open()
            self._opened.append(reader)
        return question(reader)

    def close(self) -> None:
        """Wait for the questions under way, and close the readers; a later question opens them again."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        self._local = threading.local()
        while self._opened:
            self._opened.pop().close()

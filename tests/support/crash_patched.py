"""Runs a program with one of its protections taken out, for negative controls.

python crash_patched.py <what> trueline_edge|trueline_cloud ARGUMENTS...

lazy-append     the spool's place (checkpoint) is synced at once, its rows only at every tenth append
early-ack       the journal commits only every tenth group, after nine were acknowledged
no-sync         SQLite runs with synchronous=OFF
no-policy       a full spool is not an answer: whatever finds no room ends the agent
believe-all     no signature is checked
"""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def lazy_append() -> None:
    """What was one transaction becomes two, far apart."""
    from trueline_edge.spool.sqlite import SqliteSpool  # noqa: PLC0415 - only where it is asked for

    append = SqliteSpool.append
    held: list[tuple[list[Any], list[bytes]]] = []

    def lazy(self: SqliteSpool, rows: Sequence[Any], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        held.append((list(rows), list(schemas)))
        append(self, [], [], checkpoint)
        if len(held) >= 10:
            all_rows = [row for some, _ in held for row in some]
            append(self, all_rows, [schema for _, some in held for schema in some], None)
            held.clear()

    SqliteSpool.append = lazy  # type: ignore[method-assign]


def early_ack() -> None:
    """Acknowledged before it is committed."""
    from trueline_cloud.storage.journal import Journal  # noqa: PLC0415 - only where it is asked for

    run = Journal._run
    begin = Journal._begin
    commits = 0

    def lazy_begin(self: Journal) -> None:
        if not self._db.in_transaction:
            begin(self)

    def lazy_run(self: Journal, statement: str, values: tuple[Any, ...] = ()) -> Any:
        nonlocal commits
        if statement == "COMMIT":
            commits += 1
            if commits > 1 and commits % 10:
                return run(self, "SELECT 1")
        return run(self, statement, values)

    Journal._begin = lazy_begin  # type: ignore[method-assign]
    Journal._run = lazy_run  # type: ignore[method-assign]


def same_epoch() -> None:
    """Numbers are given out again after a card was restored."""
    from trueline_wire.delivery.sender import Sender  # noqa: PLC0415 - only where it is asked for

    make = Sender.__init__

    def goes_on(self: Sender, *more: Any, **named: Any) -> None:
        make(self, *more, **named)
        for lane in self._lanes.values():
            if lane.epochs:
                lane.live = lane.epochs[-1].epoch

    Sender.__init__ = goes_on  # type: ignore[method-assign]


def die_at_frame_5() -> None:
    """A bug in a decoder, as a hostile or unlucky frame finds it."""
    import os  # noqa: PLC0415 - only where it is asked for
    import signal  # noqa: PLC0415 - as above

    from trueline_cloud.ingest.decode import FrameDecoder  # noqa: PLC0415 - as above

    decode = FrameDecoder.__call__

    def dies(self: FrameDecoder, record: Any, encoded_schema: bytes) -> Any:
        if record.number == 5 and record.rows_before < 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(self, record, encoded_schema)

    FrameDecoder.__call__ = dies  # type: ignore[method-assign]


def no_sync() -> None:
    """The disk is believed whatever happens."""
    import apsw  # noqa: PLC0415 - only where it is asked for

    class Careless(apsw.Connection):
        def __init__(self, *more: Any, **named: Any) -> None:
            super().__init__(*more, **named)
            super().execute("PRAGMA synchronous = OFF")

        def execute(self, statement: str, *more: Any, **named: Any) -> Any:
            if "synchronous" in statement.lower():
                statement = "PRAGMA synchronous = OFF"
            return super().execute(statement, *more, **named)

        def pragma(self, name: str, *more: Any, **named: Any) -> Any:
            return 2 if name == "synchronous" else super().pragma(name, *more, **named)

    apsw.Connection = Careless  # type: ignore[misc]


def no_policy() -> None:
    """No dropping, no reserve: a full disk is nobody's business."""
    from trueline_edge.spool.sqlite import SqliteSpool  # noqa: PLC0415 - only where it is asked for
    from trueline_wire.delivery import SpoolFull  # noqa: PLC0415 - as above
    from trueline_wire.errors import SpoolUnsafe  # noqa: PLC0415 - as above

    append = SqliteSpool.append

    def strict(self: SqliteSpool, *more: Any) -> None:
        try:
            append(self, *more)
        except SpoolFull as error:
            raise SpoolUnsafe(str(error)) from error

    SqliteSpool.append = strict  # type: ignore[method-assign]


def believe_all() -> None:
    """Whoever says that it is the cloud is the cloud."""
    from trueline_wire.keys import KeyRing  # noqa: PLC0415 - only where it is asked for

    KeyRing.verify = lambda *_: None  # type: ignore[method-assign]


if __name__ == "__main__":
    what, program, *arguments = sys.argv[1:]
    ways = {
        "lazy-append": lazy_append,
        "early-ack": early_ack,
        "same-epoch": same_epoch,
        "die-at-frame-5": die_at_frame_5,
        "no-sync": no_sync,
        "no-policy": no_policy,
        "believe-all": believe_all,
    }
    ways[what]()
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)

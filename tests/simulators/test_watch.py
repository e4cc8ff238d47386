from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from trueline_sim.children import free_port
from trueline_sim.watch import Snapshot, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

_METRICS = b"""# HELP trueline_rows_sampled_total rows
# TYPE trueline_rows_sampled_total counter
trueline_rows_sampled_total{stream="a"} 30.0
trueline_rows_sampled_total{stream="b"} 12
trueline_rows_spooled_total 40
"""
_LANE = {"rows_stored": 25, "rows_missing": 0, "values": 100, "bytes": 250}


@contextlib.contextmanager
def _serve(answers: dict[str, bytes]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_adds_up_what_everybody_says() -> None:
    """Agents' counters are summed over streams and devices, the ledger over lanes."""
    ledger = json.dumps({"lanes": [_LANE, _LANE]}).encode()
    with _serve({"/metrics": _METRICS, "/api/v1/ledger": ledger}) as port:
        now = Watch(port, {"one": port, "two": port}).snapshot()
    assert now == Snapshot(84, 80, 50, 0, 200, 500, cloud_answers=True)
    assert now.pending == 30
    assert now.bytes_per_value == 2.5


def test_remembers_who_does_not_answer() -> None:
    """A cloud that is down leaves its last numbers; a device that never answered counts nothing."""
    ledger = json.dumps({"lanes": [_LANE]}).encode()
    with _serve({"/metrics": _METRICS, "/api/v1/ledger": ledger}) as port:
        watch = Watch(port, {"one": port, "dead": free_port()})
        before = watch.snapshot()
    after = watch.snapshot()
    assert (after.sampled, after.stored) == (before.sampled, before.stored) == (42, 25)
    assert before.cloud_answers
    assert not after.cloud_answers


def test_knows_nothing_at_first() -> None:
    """Before anybody answers, all is nought and no figure is made up."""
    now = Watch(free_port(), {"one": free_port()}).snapshot()
    assert now == Snapshot()
    assert now.bytes_per_value is None

"""Ten thousand devices at one frame each 10 s for ten minutes into one cloud process: nothing lost, memory flat.

    python benchmarks/soak.py                                            as `make soak` runs it
    python benchmarks/soak.py --group greenhouse:100 --seconds 60        smaller

The devices measure worlds with faults (`trueline-sim fleet --group`), in one process, on a few shared connections. The
growth of memory is the slope of a straight line through the resident sizes of the last two thirds of the measuring;
before that, caches fill. Descriptors are counted beside it. `missing` is what was lost,
`duplicates` what is there twice.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import cpu_s, finish, parser, rss_mb, say
from fleet import BROKER_SETTINGS, add_arguments, count_frames, fleet_command

from trueline_sim.children import wait_until
from trueline_sim.processes import Site

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from trueline_sim.children import Child

GROWTH_MAX_MB_PER_MIN = 1.0
DESCRIPTORS_SLACK = 8  # connections of export commands and page viewers come and go
SETTLED_AFTER = 1 / 3
GROUPS = ("greenhouse:6000", "cold_chain:4000")


class Watch:
    """Looks at processes once a second while the `with` lasts: `samples` of (monotonic s, MB, descriptors) of each."""

    def __init__(self, children: dict[str, Child], interval_s: float = 1.0) -> None:
        self.samples: dict[str, list[tuple[float, float, int]]] = {name: [] for name in children}
        self._children = children
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            for name, child in self._children.items():
                try:
                    open_files = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
                    self.samples[name].append((time.monotonic(), rss_mb(child.pid), open_files))
                except (FileNotFoundError, IndexError, ProcessLookupError):
                    pass  # it has ended

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def flatness(samples: list[tuple[float, float, int]], begin_s: float, end_s: float) -> dict[str, float]:
    """Once it has settled: growth of memory, MB a minute, size at both ends, MB, and the span of descriptors."""
    settled_s = begin_s + SETTLED_AFTER * (end_s - begin_s)
    settled = np.array([sample for sample in samples if settled_s <= sample[0] <= end_s])
    if len(settled) < 3:
        return {}
    slope = float(np.polyfit(settled[:, 0] / 60.0, settled[:, 1], 1)[0])
    return {
        "growth_mb_per_min": round(slope, 3),
        "rss_start_mb": round(float(np.median(settled[:10, 1])), 1),
        "rss_end_mb": round(float(np.median(settled[-10:, 1])), 1),
        "rss_max_mb": round(max(sample[1] for sample in samples), 1),
        "descriptors_min": int(settled[:, 2].min()),
        "descriptors_max": int(settled[:, 2].max()),
    }


def measure(site: Site, arguments: Any) -> tuple[dict[str, Any], list[str]]:
    """Run it, look on, count."""
    site.start()
    fleet = fleet_command(site, arguments)
    before = {"cloud": cpu_s(site.cloud.pid), "broker": cpu_s(site.broker.pid)}
    fleet.start()
    say(f"{', '.join(arguments.group)}: {arguments.seconds:g} s ...")
    with Watch({"cloud": site.cloud, "broker": site.broker, "fleet": fleet}) as watch:
        wait_until(lambda: not fleet.alive, "the fleet's end", 2 * arguments.seconds + arguments.drain_s + 120)
    if fleet.exit_code not in {0, 1}:
        raise fleet.error(f"ended with exit code {fleet.exit_code}")
    report: dict[str, Any] = json.loads(fleet.last_line())
    used = {"cloud": cpu_s(site.cloud.pid) - before["cloud"], "broker": cpu_s(site.broker.pid) - before["broker"]}
    used["fleet"] = report["cpu_s"]
    load = round(os.getloadavg()[0], 2)
    frames, different, rows = count_frames(site.cloud.state / "journal.db")
    end_s = watch.samples["fleet"][-1][0] - report["draining_s"]
    flat = {n: flatness(s, end_s - report["measuring_s"], end_s) for n, s in watch.samples.items()}
    result = {
        **{k: report[k] for k in ("devices", "carried", "distinct", "measuring_s", "draining_s", "late_max_s")},
        "groups": ", ".join(arguments.group),
        "frames_sent": report["frames"],
        "frames_in_journal": frames,
        "rows_sent": report["rows"],
        "rows_in_journal": rows,
        "rows_absent": report["rows_absent"],
        "missing": report["rows"] - rows,
        "duplicates": frames - different,
        "drained": report["drained"],
        "frames_resent": report["frames_resent"],
        "timeouts": report["timeouts"],
        "ack_latency_p50_s": report["ack_latency_p50_s"],
        "ack_latency_p95_s": report["ack_latency_p95_s"],
        "ack_latency_max_s": report["ack_latency_max_s"],
        "load_average_at_the_end": load,
        **{
            f"{name}_cpu_cores": round(spent / (report["measuring_s"] + report["draining_s"]), 3)
            for name, spent in used.items()
        },
        **{f"{name}_cpu_ms_per_frame": round(1e3 * spent / max(frames, 1), 3) for name, spent in used.items()},
        **{f"{name}_{key}": value for name, figures in flat.items() for key, value in figures.items()},
    }
    return result, _misses(result)


def _misses(result: dict[str, Any]) -> list[str]:
    misses = [f"{key} is {result[key]:,}, not 0" for key in ("missing", "duplicates") if result[key]]
    if not result["drained"]:
        misses.append("not everything was acknowledged")
    for name in ("cloud", "fleet"):
        growth = result.get(f"{name}_growth_mb_per_min")
        if growth is None:
            misses.append(f"{name}: too short to say whether memory grows")
        elif growth > GROWTH_MAX_MB_PER_MIN:
            misses.append(f"{name} grows by {growth:g} MB a minute, more than {GROWTH_MAX_MB_PER_MIN:g}")
        elif result[f"{name}_descriptors_max"] - result[f"{name}_descriptors_min"] > DESCRIPTORS_SLACK:
            misses.append(f"{name}'s descriptors do not stay: {result[f'{name}_descriptors_max']} at the most")
    return misses


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    add_arguments(options)
    options.set_defaults(rate_hz=0.1, seconds=600.0, distinct=500)
    arguments = options.parse_args()
    arguments.group = arguments.group or list(GROUPS)
    with (
        tempfile.TemporaryDirectory(prefix="trueline-soak-") as folder,
        Site(Path(folder), broker="mosquitto", broker_settings=BROKER_SETTINGS) as site,
    ):
        result, misses = measure(site, arguments)
    return finish(result, misses, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())

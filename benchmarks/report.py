"""Run the benchmarks one after the other, beside their peers, and write docs/benchmarks.md from what they print.

    benchmarks/report.py                        all of them
    benchmarks/report.py wire ingest            some; the others keep the figures of their last run in the page
    benchmarks/report.py --data ../shared/data  where the recorded data is

Exit code 1 if a benchmark missed a bound or could not run; the page says which.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"


class Asked(NamedTuple):
    """One figure that was asked for: the key in the benchmark's JSON, what it is, and the bound."""

    key: str
    what: str
    bound: str


class Benchmark(NamedTuple):
    """A script and the figures asked of it.

    Attributes:
        name: on the command line, and of the script where `script` is empty.
        title: of its part of the page.
        data: the folder of the recorded data it is given ("": all of it); None where it wants none.
        asked: see `Asked`.
        script: from the root of the project.
        options: it is called with.
        only_named: takes long; run where it is named, left as it was otherwise.
    """

    name: str
    title: str
    data: str | None
    asked: tuple[Asked, ...]
    script: str = ""
    options: tuple[str, ...] = ()
    only_named: bool = False


_NOTHING_LOST = (
    Asked("missing", "rows missing", "0"),
    Asked("duplicates", "rows stored twice", "0"),
    Asked("rows_sent", "rows sent", ""),
)
_EQUAL = (
    Asked("rows", "rows replayed", ""),
    Asked("rows_lost", "rows lost", "0"),
    Asked("rows_doubled", "rows stored twice", "0"),
    Asked("rows_different", "rows that came back with other values", "0"),
)

BENCHMARKS = (
    Benchmark("skab", "Recorded readings all the way, over MQTT", "", _EQUAL, "examples/skab/run.py"),
    Benchmark(
        "skab_coap",
        "Recorded readings all the way, over CoAP",
        "",
        _EQUAL,
        "examples/skab/run.py",
        ("--link", "coap"),
    ),
    Benchmark(
        "wire",
        "Bytes on the wire",
        "",
        (
            Asked(
                "skab_trueline_bytes_per_value", "all SKAB runs, whole messages of 600 rows, bytes a value", "≤ 1.60"
            ),
            Asked("skab_anomaly_free_trueline_bytes_per_value", "the anomaly-free run, bytes a value", "≤ 1.52"),
            Asked("skab_of_json_gzip", "of JSON + gzip", "≤ 0.45"),
            Asked("skab_of_sparkplug_b_gzip", "of Sparkplug B + gzip", "≤ 0.25"),
        ),
    ),
    Benchmark(
        "ingest",
        "Ingest and query",
        "skab",
        (
            Asked(
                "rows_600_trueline_values_per_cpu_s", "frames of 600 rows by 8 channels, values a CPU second", "≥ 3 M"
            ),
            Asked(
                "rows_60_trueline_values_per_cpu_s", "frames of 60 rows by 8 channels, values a CPU second", "≥ 0.5 M"
            ),
            Asked("query_p95_ms", "24 h at one-minute steps out of 50 M while ingesting, p95, ms", "< 20"),
            Asked("query_http_one_channel_p95_ms", "the same over HTTP, one channel, ms", ""),
            Asked("query_http_p95_ms", "the same over HTTP, all 8 channels, ms", ""),
        ),
    ),
    Benchmark(
        "agent",
        "The agent",
        "",
        (
            Asked("rss_max_mb", "resident memory at 1 kHz by 8 channels, MB", "< 64"),
            Asked("first_frame_s", "first frame at the broker after start, s", "≤ 1.5"),
        ),
    ),
    Benchmark(
        "inference",
        "A model on the device",
        None,
        (
            Asked("invoke_us", "the bare network, a window, microseconds", "≤ 30"),
            Asked("score_times_invoke", "window to score, times the bare network", "≤ 2"),
            Asked("stage_times_invoke", "the whole stage, p-value and alarm included", ""),
            Asked("batched_times_single", "windows at once, times the rate of single ones", "≥ 5"),
            Asked("agent_with_model_mb", "resident memory of an agent with it, MB", "< 90"),
            Asked("package_kb", "the package, kB", "< 64"),
        ),
    ),
    Benchmark(
        "outage",
        "A day without a link",
        None,
        (
            Asked("agent_rss_growth_mb", "memory above the start, MB", "≤ 10"),
            Asked("missing", "rows missing after the drain", "0"),
            Asked("duplicates", "rows stored twice", "0"),
        ),
    ),
    Benchmark(
        "fleet",
        "A thousand devices",
        None,
        _NOTHING_LOST,
    ),
    Benchmark(
        "soak",
        "Ten thousand devices for ten minutes",
        None,
        (
            *_NOTHING_LOST,
            Asked("cloud_growth_mb_per_min", "growth of the cloud, MB a minute", "≤ 1"),
            Asked("fleet_growth_mb_per_min", "growth of the fleet, MB a minute", "≤ 1"),
        ),
        only_named=True,
    ),
    Benchmark(
        "simulate",
        "Making worlds",
        None,
        (
            *(
                Asked(f"{name}_made_per_cpu_s", f"sensor readings a CPU second, in memory, {name}", "≥ 5 M")
                for name in ("greenhouse", "machine", "water_loop", "cold_chain", "air_quality", "motion")
            ),
            Asked("recorded_per_cpu_s", "sensor readings a CPU second, recorded", "≥ 2 M"),
        ),
    ),
    Benchmark("score", "Scoring against the truth", None, ()),
)


def run(benchmark: Benchmark, data: Path | None, extra: list[str]) -> tuple[dict[str, Any] | None, int, str]:
    """The benchmark's JSON object, its exit code, and the end of what it said on stderr."""
    command = [sys.executable, str(ROOT / script(benchmark)), "--json", *benchmark.options, *extra]
    if data is not None and benchmark.data is not None:
        command += ["--data", str(data / benchmark.data)]
    print(f"{benchmark.title}: {script(benchmark)} ...", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1]), done.returncode, done.stderr[-400:]
    except (IndexError, json.JSONDecodeError):
        return None, done.returncode or 1, done.stderr[-400:]


def script(benchmark: Benchmark) -> str:
    """Its path from the root of the project."""
    return benchmark.script or f"benchmarks/{benchmark.name}.py"


def section(benchmark: Benchmark, result: dict[str, Any], code: int) -> str:
    """The page's part on one benchmark."""
    lines = [
        f"## {benchmark.title}",
        "",
        f"`{' '.join([script(benchmark), *benchmark.options])}`, {time.strftime('%Y-%m-%d')}",
        "",
    ]
    asked = [one for one in benchmark.asked if one.key in result]
    if asked:
        lines += ["| asked | bound | measured |", "|---|---|---|"]
        lines += [f"| {one.what} | {one.bound} | **{_shown(result[one.key])}** |" for one in asked]
    misses = result.get("misses") or ([] if code == 0 else ["exit code " + str(code)])
    lines += ["", "Missed: " + "; ".join(map(str, misses)) + "." if misses else "Nothing missed.", ""]
    lines += ["<details><summary>All figures, peers and settings</summary>", "", "| key | value |", "|---|---|"]
    lines += [f"| `{key}` | {_shown(value)} |" for key, value in result.items() if key != "misses"]
    return "\n".join([*lines, "", "</details>", ""])


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (dict, list)):
        value = json.dumps(value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def known_sections() -> dict[str, str]:
    """The parts of the page as it is, by title."""
    if not PAGE.exists():
        return {}
    parts = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def main() -> int:
    """Run, write the page, say what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which (all)")
    parser.add_argument("--data", type=Path, help="the folder of recorded data")
    arguments = parser.parse_args()
    data = arguments.data.resolve() if arguments.data and arguments.data.exists() else None
    sections, failed = known_sections(), []
    for benchmark in BENCHMARKS:
        if benchmark.name not in arguments.names if arguments.names else benchmark.only_named:
            continue
        result, code, said = run(benchmark, data, [])
        if result is None:
            print(f"  could not run: {said}")
            failed.append(benchmark.name)
            continue
        sections[benchmark.title] = section(benchmark, result, code)
        print(f"  {'missed a bound' if code else 'all bounds met'}")
        failed += [benchmark.name] if code else []
    head = (
        "# Benchmarks\n\nWritten by `make bench`. Each script can be run alone; it runs its peers and its limit\n"
        "in the same run, prints versions and settings, and exits non-zero when a bound is missed. The machine is\n"
        "shared and noisy: ratios within one run mean more than absolute times.\n"
    )
    ordered = [sections[one.title] for one in BENCHMARKS if one.title in sections]
    PAGE.write_text("\n".join([head, *ordered]), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}" + (f"; missed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

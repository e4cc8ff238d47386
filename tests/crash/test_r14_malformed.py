"""R14: malformed payloads to a real cloud, over MQTT and CoAP, half of them signed with a key it trusts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import aiocoap
import psutil
import pytest
from crash_kit import Proof, campaign
from crash_mutants import BOMB, Mutant, Mutator
from crash_peer import Counters, HandDevice, Mqtt, post

from trueline_sim.processes import Site
from trueline_wire.topics import up_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_QUARANTINE_MAX = 50
_RSS_MAX = 20 * 1024 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    extra = {"journal": {"commit_interval_ms": 20, "quarantine_records_max": _QUARANTINE_MAX}}
    with Site(tmp_path, broker="mosquitto", cloud_extra=extra) as site:
        site.start()
        yield site


def _mutants(mutator: Mutator, n: int) -> Iterator[Mutant]:
    for number in range(n):
        yield mutator.signed() if number % 2 else mutator.unsigned()


def test_malformed_payloads_are_counted_and_never_stored(site: Site, proof: Proof) -> None:
    """Malformed payloads, half of them re-signed: no crash, none stored, all counted, and the next frame is served."""
    n, rng = campaign(10_000), proof.rng()
    good, mad, deep = (HandDevice(site, name) for name in ("good-1", "mad-1", "deep-1"))
    counters, cloud = Counters(site.cloud.url), psutil.Process(site.cloud.pid)
    for device in (good, deep):
        device.measure(100)
        assert device.drain_mqtt()
    mutator = Mutator(mad.name, mad.key, rng)
    hows: Counter[str] = Counter()
    _over_mqtt(site, mad.name, _mutants(mutator, 200), counters)  # so that caches are warm before memory is measured
    rss = cloud.memory_info().rss
    before = counters.outcome("messages")
    hows.update(_over_mqtt(site, mad.name, _mutants(mutator, 6 * n // 10), counters))
    hows.update(asyncio.run(_over_coap(site, mad.name, list(_mutants(mutator, 2 * n // 10)))))
    refused = sum(count for how, count in hows.items() if how.startswith("refused"))
    assert counters.outcome("messages") - before == hows.total() - refused
    assert refused < n // 50

    bodies = 2 * n // 10
    for _ in range(bodies):
        body, rows, how = Mutator(deep.name, deep.key, rng).body()
        deep.append(body, rows)
        hows[how] += 1
    assert deep.drain_mqtt(120) if rng.random() < 0.5 else deep.drain_coap(120)

    assert site.cloud.alive
    growth = cloud.memory_info().rss - rss
    ledger = {lane["device"]: lane for lane in site.ledger() if lane["lane"] == "data"}
    assert ledger["deep-1"]["rows_stored"] == 100
    assert ledger["deep-1"]["frames"] == 1
    assert counters.outcome("quarantined") >= bodies
    kept = counters.read()["trueline_quarantine_records"]
    assert kept <= _QUARANTINE_MAX
    assert ledger.get("mad-1", {"rows_stored": 0})["rows_stored"] == 0
    good.measure(100)
    assert good.drain_mqtt()
    site.export(good.name, "rows", site.folder / "good.csv")
    assert len((site.folder / "good.csv").read_text().splitlines()) == 1 + 200
    proof.says(n=hows.total(), result=f"0 crashes, 0 stored, kept aside {kept:.0f}, RSS +{growth / 1e6:.1f} MB")
    proof.says(kinds=json.dumps(hows))
    assert growth < _RSS_MAX


def _over_mqtt(site: Site, device: str, mutants: Iterator[Mutant], counters: Counters) -> Counter[str]:
    """Publish, never more at once than a broker holds for its subscriber."""
    line = Mqtt(site.broker.port, [])
    hows: Counter[str] = Counter()
    seen = counters.outcome("messages")
    batch: list[Mutant] = []
    for mutant in mutants:
        batch.append(mutant)
        if len(batch) == 200:
            seen = _publish(line, device, batch, counters, seen)
            hows.update(one.how for one in batch)
            batch = []
    _publish(line, device, batch, counters, seen)
    hows.update(one.how for one in batch)
    line.close()
    return hows


def _publish(line: Mqtt, device: str, batch: list[Mutant], counters: Counters, seen: int) -> int:
    infos = [line.publish(up_topic(device, one.channel), one.message) for one in batch]
    assert line.work(lambda: all(info.is_published() for info in infos))
    assert line.work(lambda: counters.outcome("messages") >= seen + len(batch)), "messages that nobody counted"
    return seen + len(batch)


async def _over_coap(site: Site, device: str, mutants: list[Mutant]) -> Counter[str]:
    context = await aiocoap.Context.create_client_context()
    hows: Counter[str] = Counter()
    for start in range(0, len(mutants), 8):
        some = mutants[start : start + 8]
        answers = await asyncio.gather(*(post(context, site.cloud.coap_port, device, one.message) for one in some))
        for one, answer in zip(some, answers, strict=True):
            # What is larger than a message may be, or one of two transfers at once, is refused before it is a message.
            hows[one.how if answer.code == aiocoap.CHANGED else f"refused {answer.code}"] += 1
    await context.shutdown()
    return hows


def test_a_plain_decoder_dies_of_the_same_bytes(proof: Proof) -> None:
    """Negative control: pcodec's plain decoder, given one of these bodies under a limit of 1 GiB, ends its process."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))"
    decode = f"from pcodec import standalone; standalone.simple_decompress({BOMB!r})"
    done = subprocess.run([sys.executable, "-c", f"{limit}; {decode}"], capture_output=True, check=False)
    assert done.returncode < 0, "it lived"
    proof.says(control=f"plain pcodec on one of the bodies: killed by signal {-done.returncode}")

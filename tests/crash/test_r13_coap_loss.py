"""R13: CoAP over a network that loses a fifth of the datagrams each way, doubles some and lets some overtake others."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiocoap
import pytest
from aiocoap.error import Error as CoapError
from crash_kit import Proof, campaign
from crash_rows import stream, write_rows
from crash_site import ledger, stored

from trueline_sim.processes import Site
from trueline_sim.proxy import UdpProxy, Weather

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ROWS_A_FRAME = 120
_WITHIN_S = 600.0
_BAD = Weather(loss=0.2, duplication=0.1, reordering=0.1, latency_s=0.005, jitter_s=0.01)
_WORSE = Weather(loss=0.45)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker=None, link="coap", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def test_coap_over_a_bad_network_loses_and_doubles_nothing(site: Site, proof: Proof) -> None:
    """A fifth of the datagrams lost each way, doubles, reordering: every row is stored once, within ten minutes."""
    frames = campaign(100)
    source = write_rows(site.folder / "rows.csv", frames * _ROWS_A_FRAME, proof.seed)
    with UdpProxy("127.0.0.1", site.cloud.coap_port, seed=proof.seed, weather=_BAD).running() as proxy:
        links = site.links(coap_port=proxy.port)
        frame = {"rows_max": _ROWS_A_FRAME, "interval_s": 1.0}
        agent = site.add_agent("radio-1", [stream(source)], frame=frame, links=links)
        began = time.monotonic()
        agent.start("--until-drained")
        counts = agent.result(_WITHIN_S)
        took_s = time.monotonic() - began
        lost, passed = proxy.dropped, proxy.passed
    found, lane = stored(site, agent, source), ledger(site, agent.device)
    proof.says(n=counts["frames_appended"], result=str(found), took_s=round(took_s, 1))
    proof.says(datagrams=f"{lost} of {lost + passed} lost")
    assert found.equal, found
    assert lane["verdict"] == "complete", lane
    assert lane["alarms"] == {}, lane
    assert lost


class _Quick(aiocoap.TransportTuning):  # type: ignore[misc] # aiocoap is not typed
    """The library's own retransmissions, all five tries of them, in less time."""

    ACK_TIMEOUT = 0.1


class _Once(_Quick):
    """Each datagram is sent once."""

    MAX_RETRANSMIT = 0


@pytest.mark.parametrize(
    ("tuning", "weather"), [(_Once, _BAD), (_Quick, _WORSE)], ids=["sent once", "the library's five tries"]
)
def test_what_is_not_sent_again_is_lost(
    site: Site, proof: Proof, tuning: type[aiocoap.TransportTuning], weather: Weather
) -> None:
    """Negative control: block-wise POSTs sent once give up in the same weather, the library's own tries in worse."""
    n = 30

    async def post(port: int) -> bool:
        context = await aiocoap.Context.create_client_context()
        uri = f"coap://127.0.0.1:{port}/tl/1/radio-1"
        request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=bytes(3000), transport_tuning=tuning())
        try:
            async with asyncio.timeout(30):
                answer = await context.request(request).response
        except (CoapError, TimeoutError):
            return False
        finally:
            await context.shutdown()
        return bool(answer.code.is_successful())

    async def all_of_them(port: int) -> list[bool]:
        return await asyncio.gather(*(post(port) for _ in range(n)))

    with UdpProxy("127.0.0.1", site.cloud.coap_port, seed=proof.seed, weather=weather).running() as proxy:
        arrived = asyncio.run(all_of_them(proxy.port))
    tries = 1 + tuning.MAX_RETRANSMIT
    proof.says(control=f"{tries} tries at {weather.loss:.0%} loss: {n - sum(arrived)} of {n} batches given up")
    assert not all(arrived)

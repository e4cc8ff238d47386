"""TLS of the MQTT link: whom it trusts, and that it comes by itself when the certificate is mended."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import random
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from edge_links import DEVICE, MqttCloud, Told, until

from trueline_edge.publish.config import MqttLinkConfig, TlsConfig
from trueline_edge.publish.mqtt import MqttLink
from trueline_sim.children import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority that lives for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key.public_key(), NOW + 30 * DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until_when: dt.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 60 * DAY)
            .not_valid_after(until_when)
        )

    def issue(self, folder: Path, host: str, until_when: dt.datetime = NOW + 30 * DAY) -> None:
        """Write server.pem and server.key for a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        with contextlib.suppress(ValueError):
            names = [x509.IPAddress(ipaddress.ip_address(host))]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._builder(subject, key.public_key(), until_when).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        pem = certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (folder / "server.pem").write_bytes(pem)
        (folder / "server.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@contextlib.asynccontextmanager
async def broker(folder: Path, port: int) -> AsyncIterator[None]:
    path = folder / "tls.conf"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root"]
    lines += [f"certfile {folder}/server.pem", f"keyfile {folder}/server.key"]
    path.write_text("\n".join(lines) + "\n")
    program = MqttCloud(folder).program
    process = subprocess.Popen([program, "-c", str(path)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - returns at once
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def link_to(port: int, ca: Path) -> AsyncIterator[Told]:
    config = MqttLinkConfig(host="127.0.0.1", port=port, tls=TlsConfig(ca=ca))
    told = Told()
    task = asyncio.create_task(MqttLink(config, DEVICE, rng=random.Random(1), retry_max_s=0.1).run(told))
    try:
        yield told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_right_certificate_is_accepted(tmp_path: Path) -> None:
    """A broker with a certificate of the named authority, for its address, is spoken to (control of the others)."""
    ours = Authority(tmp_path, "ours")
    ours.issue(tmp_path, "127.0.0.1")
    port = free_port()
    async with broker(tmp_path, port), link_to(port, ours.path) as told:
        await until(lambda: told.is_up, "up")


# paho leaves the socket of a failed handshake to the garbage collector, which closes it and says so.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
async def test_a_wrong_certificate_is_refused_until_it_is_mended(tmp_path: Path, wrong: str) -> None:
    """Unknown authority, other name, past its date: nothing is sent; with a good one the link comes up by itself."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    if wrong == "authority":
        theirs.issue(tmp_path, "127.0.0.1")
    elif wrong == "name":
        ours.issue(tmp_path, "broker.example")
    else:
        ours.issue(tmp_path, "127.0.0.1", NOW - DAY)
    port = free_port()
    async with link_to(port, ours.path) as told:
        async with broker(tmp_path, port):
            await asyncio.sleep(1.0)
            assert told.ups == 0
        ours.issue(tmp_path, "127.0.0.1")
        async with broker(tmp_path, port):
            await until(lambda: told.is_up, "up")


async def test_an_authority_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """A missing file does not end the link; once it is there, it is read."""
    ours = Authority(tmp_path, "ours")
    ours.issue(tmp_path, "127.0.0.1")
    later = tmp_path / "later.pem"
    port = free_port()
    async with broker(tmp_path, port), link_to(port, later) as told:
        await asyncio.sleep(0.3)
        assert told.ups == 0
        later.write_bytes(ours.path.read_bytes())
        await until(lambda: told.is_up, "up")

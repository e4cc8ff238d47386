"""Keys: who signed this, and who may."""

from __future__ import annotations

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.support.wire_examples import DEVICE

from trueline_wire.envelope import Kind, open_envelope, seal_envelope
from trueline_wire.errors import ConfigError, NotAuthentic
from trueline_wire.keys import KEY_ID_SIZE, SIGNATURE_SIZE, KeyRing, SigningKey, parse_public_key

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW, STRANGER = (SigningKey(bytes([letter]) * 32) for letter in b"ons")


def trusts(ring: KeyRing, name: str, key: SigningKey) -> bool:
    message = seal_envelope(Kind.STATUS, {0: name}, b"", key)
    try:
        open_envelope(message, name, ring)
    except NotAuthentic:
        return False
    return True


def ring_of(*names: tuple[str, SigningKey]) -> KeyRing:
    ring = KeyRing()
    for name, key in names:
        ring.trust(name, key.public)
    return ring


def test_only_the_key_of_the_name_is_taken() -> None:
    """A device's key proves that device and no other; an unknown key proves nobody."""
    ring = ring_of((DEVICE, OLD), ("pump-8", NEW))
    assert trusts(ring, DEVICE, OLD)
    assert not trusts(ring, DEVICE, NEW)
    assert not trusts(ring, "pump-8", OLD)
    assert not trusts(ring, DEVICE, STRANGER)
    assert not trusts(KeyRing(), DEVICE, OLD)
    assert ring.names == {DEVICE, "pump-8"}


def test_keys_rotate() -> None:
    """A second key for a name is taken beside the first, which goes on verifying what it signed."""
    ring = ring_of((DEVICE, OLD))
    assert not trusts(ring, DEVICE, NEW)
    ring.trust(DEVICE, NEW.public)
    assert trusts(ring, DEVICE, NEW)
    assert trusts(ring, DEVICE, OLD)


def test_a_revoked_name_is_a_stranger() -> None:
    """After a revocation no key of that name is taken, and the others still are."""
    ring = ring_of((DEVICE, OLD), (DEVICE, NEW), ("pump-8", OLD))
    ring.revoke(DEVICE)
    assert not trusts(ring, DEVICE, OLD)
    assert not trusts(ring, DEVICE, NEW)
    assert trusts(ring, "pump-8", OLD)
    assert ring.names == {"pump-8"}


def test_a_key_id_alone_proves_nothing() -> None:
    """A good key id with another key's signature is refused, and so is a good signature under another id."""
    ring = ring_of((DEVICE, OLD), (DEVICE, NEW))
    message = b"anything"
    ring.verify(DEVICE, OLD.key_id, OLD.sign(message), message)
    for key_id, signature in (
        (OLD.key_id, NEW.sign(message)),
        (NEW.key_id, OLD.sign(message)),
        (OLD.key_id, OLD.sign(b"another")),
        (OLD.key_id, bytes(SIGNATURE_SIZE)),
        (OLD.key_id, b""),
    ):
        with pytest.raises(NotAuthentic):
            ring.verify(DEVICE, key_id, signature, message)


def test_signatures_are_ed25519() -> None:
    """RFC 8032, test 1: seed, public key and the signature of nothing."""
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    assert len(key.key_id) == KEY_ID_SIZE
    Ed25519PublicKey.from_public_bytes(key.public).verify(key.sign(b"x"), b"x")


def test_public_keys_are_read_from_text() -> None:
    """A public key in base64 is read back."""
    assert parse_public_key(OLD.public_text) == OLD.public


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(33)).decode(), "é" * 44])
def test_what_is_no_public_key_is_a_mistake_in_the_configuration(text: str) -> None:
    """Anything else is a ConfigError that says what is wanted."""
    with pytest.raises(ConfigError, match="44 characters"):
        parse_public_key(text)


def test_a_key_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    """The first use makes a key file that only its owner reads; later ones load the same key."""
    path = tmp_path / "state" / "device.key"
    made = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).public == made.public
    assert [file.name for file in path.parent.iterdir()] == ["device.key"]


@pytest.mark.parametrize("text", ["", "garbage", base64.b64encode(bytes(31)).decode()])
def test_a_damaged_key_file_is_named(tmp_path: Path, text: str) -> None:
    """A key file that holds no key is a ConfigError naming the file; it is never replaced by itself."""
    path = tmp_path / "device.key"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"device\.key"):
        SigningKey.load_or_create(path)
    assert path.read_text() == text


def test_a_key_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path that cannot be written is a ConfigError naming it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"device\.key"):
        SigningKey.load_or_create(tmp_path / "file" / "device.key")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A secret that is no secret is named, with the mend."""
    path = tmp_path / "device.key"
    first = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).public == first.public
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        SigningKey.load_or_create(path)


def test_two_processes_that_make_one_key_end_with_the_same(tmp_path: Path) -> None:
    """The one that was first wins; nobody goes on with a key that is not on disk."""
    path = tmp_path / "device.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: SigningKey.load_or_create(path).public, range(8)))
    assert set(made) == {SigningKey.load_or_create(path).public}
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.key"]

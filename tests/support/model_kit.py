"""Model packages for tests: small, made on the spot, and signed by a key that is known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_model.package import Golden, Input, Manifest, Package, Trained
from trueline_wire.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(32))
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def ring() -> KeyRing:
    """Trusts `KEY` as the cloud."""
    ring = KeyRing()
    ring.trust("cloud", KEY.public)
    return ring


def manifest(**changes: Any) -> Manifest:
    """Of a model of two channels."""
    settings: dict[str, Any] = {
        "name": "pump",
        "version": 1,
        "created": WHEN,
        "kind": "level",
        "settings": {"size": 4},
        "inputs": (
            Input(name="a", unit="Cel", minimum=-3.0, maximum=3.0),
            Input(name="b", unit="bar", minimum=0.0, maximum=9.0),
        ),
        "interval_s": 1.0,
        "trained": Trained(begin=WHEN, end=WHEN, rows=100, source="a test"),
    }
    return Manifest(**(settings | changes))


def golden(rows: int = 8, width: int = 2) -> Golden:
    """Rows whose scores are numbers."""
    value = np.arange(rows * width, dtype=np.float64).reshape(rows, width)
    return Golden(value, np.ones(value.shape, bool), np.arange(rows, dtype=np.float64))


def package(arrays: dict[str, NDArray[Any]] | None = None, **changes: Any) -> Package:
    """A package nobody can run, for tests of the file alone; changes are the manifest's."""
    return Package(
        manifest=manifest(**changes),
        arrays={"centre": np.zeros(2), "scale": np.ones(2)} if arrays is None else arrays,
        golden=golden(),
        network=b"not a network",
        calibration=np.linspace(0.0, 1.0, 20),
    )

"""A model for each of the demo's pumps: trained by the cloud's command on normal running, installed by the agent's.

Promises: what a user would type, in the order in which a user would: `trueline-cloud train`, `trueline-edge model
install`, and the stage `detect` that names the folder. A statistical detector: nothing here waits for TensorFlow.
Refuses to know what is in a package.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from trueline_sim.children import run_to_end
from trueline_sim.demo_fleet import STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trueline_sim.processes import Site

__all__ = ["DETECTOR", "install_models", "stored_streams", "watched"]

DETECTOR: Final = "watch"
"""Name of the stage: its channels are `watch.score`, `watch.p`, `watch.alarm`, and its events a stream of their own."""

ALARMS: Final = "15/hour"
"""False alarms that may come, of one pump: what two hours of normal running are enough for."""

CHANNELS: Final = ("pressure", "flow", "current")
"""What a model looks at: the motor's temperature follows for hours what these do now."""

SEPARATION_S: Final = 2.0
"""Alarms nearer than that are one: a pump's troubles come and go in seconds."""

_MODEL: Final = "pca-both"
_AT_ONCE: Final = 2


def install_models(site: Site, recordings: Mapping[str, Path]) -> dict[str, Path]:
    """Train, sign and install a model for each device.

    Args:
        site: whose cloud signs, and in whose folder the models are kept.
        recordings: normal running, by device.

    Returns:
        The folder of each device's model.

    Raises:
        ChildError: a model could not be made, or was refused.
    """

    def install(device: str) -> Path:
        return _install(site, device, recordings[device])

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(recordings, pool.map(install, recordings), strict=True))


def _install(site: Site, device: str, recording: Path) -> Path:
    made, kept = site.folder / "models", site.folder / "agents" / "models" / device
    what = ["--data", str(recording), "--channels", ",".join(CHANNELS), "--model", _MODEL]
    what += ["--alarms", ALARMS, "--separation-s", str(SEPARATION_S), "--no-report"]
    where = ["--name", device, "--out", str(made), "--state", str(site.cloud.state), "--json"]
    package = json.loads(site.cloud.command("train", *what, *where))["package"]
    install = [sys.executable, "-m", "trueline_edge", "model", "install", str(kept), package]
    run_to_end([*install, "--public-key", site.cloud_key], folder=site.folder)
    return kept


def watched(stream: Mapping[str, Any], model: Path, public_key: str) -> dict[str, Any]:
    """The `[[stream]]` table with a model that looks at it, behind all other stages."""
    detect = {
        "type": "detect",
        "name": DETECTOR,
        "model": str(model),
        "public_key": public_key,
        "channels": list(CHANNELS),
    }
    return {**stream, "stage": [*stream["stage"], detect]}


def stored_streams(lanes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Device and stream of all that is stored of the demo's devices, as `trueline-cloud ledger --json` says."""
    told = {"data": STREAMS, "event": (f"{STREAMS[0]}.{DETECTOR}",)}
    return [(lane["device"], stream) for lane in lanes if lane["rows_stored"] for stream in told[lane["lane"]]]

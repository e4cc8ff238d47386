"""R19: the power goes while a model is changed: afterwards one model serves, the old one or the new one, whole."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from crash_kit import Proof, campaign
from model_kit import KEY, pca_package, ring, verified
from torn_disk import CarelessDisk, PowerCut, TornDisk

from trueline_edge.inference.store import ModelStore
from trueline_model.package import write_package
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import random

_VERSIONS = [write_package(pca_package(version), KEY) for version in (1, 2, 3, 4)]


def _store(folder: Path, disk: TornDisk | None = None) -> ModelStore:
    return ModelStore(folder, ring(), trial=verified, disk=disk)


def _before(folder: Path, change: str = "install") -> int:
    """A folder in which version 2 serves and 1 is there to go back to; how many steps the change takes."""
    _two(folder)
    counting = TornDisk(folder)
    _do(change, _store(folder, counting))
    _two(folder)
    return counting.steps


def _two(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    for data in _VERSIONS[:2]:
        _store(folder).install(data)


def _do(change: str, store: ModelStore) -> None:
    store.install(_VERSIONS[2]) if change == "install" else store.rollback()


def _cut(tmp_path: Path, name: str, rng: random.Random, disk_type: type[TornDisk], change: str) -> tuple[str, Path]:
    """Cut the power somewhere in a change (or right behind it); what was promised by then, and what is on the disk."""
    folder, after = tmp_path / f"{name} before", tmp_path / f"{name} after"
    folder.mkdir()
    after.mkdir()
    steps = _before(folder, change)
    disk = disk_type(folder, cut_at=rng.randrange(steps + 1))
    promised = "either"
    try:
        _do(change, _store(folder, disk))
        promised = "new"
    except PowerCut:
        pass
    disk.after_the_cut(after, rng)
    return promised, after


@pytest.mark.parametrize(("change", "new"), [("install", 3), ("rollback", 1)])
def test_a_power_cut_leaves_the_old_model_or_the_new_one(change: str, new: int, tmp_path: Path, proof: Proof) -> None:
    """At every step, with unsynced writes lost, torn or swapped: one serves; the new one, once `install` returned."""
    cuts, rng, serves = campaign(50) * 4, proof.rng(), Counter[str]()
    for number in range(cuts):
        promised, after = _cut(tmp_path, str(number), rng, TornDisk, change)
        version = _store(after).load().package.manifest.version
        assert version in {2, new}
        assert promised != "new" or version == new
        serves["the new one" if version == new else "the old one"] += 1
        _store(after).install(_VERSIONS[3])  # and the next change goes through, whatever was left behind
        assert _store(after).load().package.manifest.version == 4
        assert not list(after.glob("*.new"))
    proof.says(n=cuts, result=f"{change}: one model serves after each cut: {dict(serves)}")
    assert len(serves) == 2


def test_without_syncs_a_power_cut_leaves_none_or_forgets_what_was_promised(tmp_path: Path, proof: Proof) -> None:
    """Negative control: a disk that only says it has synced breaks the promise."""
    cuts, rng, broken = 40, proof.rng(), Counter[str]()
    for number in range(cuts):
        promised, after = _cut(tmp_path, str(number), rng, CarelessDisk, "install")
        try:
            version = _store(after).load().package.manifest.version
        except ConfigError:
            broken["none serves"] += 1
        else:
            broken["promised and gone"] += promised == "new" and version != 3
    proof.says(control=f"syncs left out, {cuts} cuts: {dict(broken)}")
    assert broken.total()


_SUPPORT = str(Path(__file__).parents[1] / "support")
_KILLED = """
import os, signal, sys
from pathlib import Path
from model_kit import ring, verified
from trueline_edge.inference.store import Disk, ModelStore
left = int(sys.argv[3])
def killing(step):
    def wrapped(*arguments):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return step(*arguments)
    return wrapped
disk = Disk()
for name in ("write", "sync", "replace", "sync_folder", "remove"):
    setattr(disk, name, killing(getattr(disk, name)))
ModelStore(Path(sys.argv[1]), ring(), trial=verified, disk=disk).install(Path(sys.argv[2]).read_bytes())
"""


def test_a_process_killed_while_it_installs_leaves_one_model(tmp_path: Path, proof: Proof) -> None:
    """Kill -9 of a real process, before each step of an install and after the last."""
    serves: Counter[int] = Counter()
    folder, package = tmp_path / "pump", tmp_path / "new.tlm"
    folder.mkdir()
    steps = _before(folder)
    package.write_bytes(_VERSIONS[2])
    tried = range(steps + 1) if campaign(50) >= 50 else [0, steps // 3, 2 * steps // 3, steps]
    for step in tried:
        _two(folder)
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {_SUPPORT!r})\n{_KILLED}"]
        done = subprocess.run([*command, folder, package, str(step)], check=False, capture_output=True)
        assert done.returncode == (0 if step == steps else -9), done.stderr.decode()
        version = _store(folder).load().package.manifest.version
        assert version in {2, 3}
        serves[version] += 1
    proof.says(
        n=len(tried), result=f"killed before a step: {serves[2]} times the old one serves, {serves[3]} the new one"
    )
    assert serves[2]
    assert serves[3]

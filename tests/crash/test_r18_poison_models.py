"""R18: poison models: unsigned, and signed by mistake. A stranger's starts no process; the rest die in their trial."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from crash_kit import Proof, campaign
from model_kit import KEY, network_package, ring, rows, verified
from model_mutants import Poisoner, hang

from trueline_edge.inference import trial
from trueline_edge.inference.serving import serve
from trueline_edge.inference.store import ModelStore
from trueline_edge.stages import Detect
from trueline_model.load import check_golden
from trueline_model.package import open_package, write_package
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from model_mutants import Poison

    from trueline_edge.inference.trial import Limits, Tried
    from trueline_wire.keys import Verifier

_SECONDS_MAX = 5.0
_MEMORY_MAX = 256 * 1024 * 1024


class _Weighed(subprocess.Popen[bytes]):
    """A process whose largest resident memory is noted, bytes.

    Read while it runs: what `getrusage` says of a child begins with the memory of the process that started it.
    """

    def __init__(self, weighed: list[int], *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        threading.Thread(target=self._watch, args=(weighed,), daemon=True).start()

    def _watch(self, weighed: list[int]) -> None:
        with suppress(OSError):
            while peak := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text()):
                weighed.append(int(peak[1]) * 1024)
                time.sleep(0.002)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a good model serves."""
    ModelStore(tmp_path / "pump", ring()).install(write_package(network_package(1), KEY))
    return tmp_path / "pump"


def test_poison_models_are_refused_and_the_last_good_one_serves(
    folder: Path, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None unsigned is tried or activated; the signed die within their limits; what passes answers as it should."""
    n, poisoner = campaign(300), Poisoner(proof.rng())
    store, refused, harmless = ModelStore(folder, ring()), Counter[str](), Counter[str]()
    tried = []
    real = trial._in_a_child
    weighed: list[int] = []
    monkeypatch.setattr(subprocess, "Popen", partial(_Weighed, weighed))
    monkeypatch.setattr(trial, "_in_a_child", lambda data, limits: tried.append(data) or real(data, limits))
    slowest = 0.0
    for number in range(n):
        poison = poisoner.make(number)
        tried.clear()
        begun = time.monotonic()
        try:
            store.install(poison.data)
        except NeverRetry:
            refused["signed" if poison.signed else "unsigned"] += 1
        else:
            assert poison.signed, poison.kind
            package = open_package(poison.data)
            check_golden(serve(package).detector, package.golden, package.manifest.golden_tolerance)
            harmless[poison.kind] += 1
            store.rollback()
        slowest = max(slowest, time.monotonic() - begun)
        assert poison.signed or not tried, poison.kind
        assert store.load().package.manifest.version == 1
    memory = max(weighed)
    proof.says(
        n=n,
        result=f"{refused['unsigned']} unsigned and {refused['signed']} signed refused, "
        f"{sum(harmless.values())} signed changed nothing in their answers",
        slowest_s=round(slowest, 2),
        memory_mb=round(memory / 1e6),
        harmless=dict(harmless),
    )
    assert refused["unsigned"] == (n + 1) // 2
    assert memory <= _MEMORY_MAX
    assert sum(harmless.values()) <= n // 10
    _still_detects(folder)


def _still_detects(folder: Path) -> None:
    """The stage on this folder scores, as if nothing had happened."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="a"), Channel(name="b")))
    stage = Detect(name="d", model=folder, public_key=KEY.public).stage(schema)
    out = stage(Readings.raw(schema, np.arange(50) * 10**9, rows(50)))
    assert np.isfinite(out.value[10:, 2]).all()


def test_a_model_that_hangs_is_ended_in_time(folder: Path, proof: Proof) -> None:
    """Ended after 5 s; the last good one serves."""
    store, poison = ModelStore(folder, ring()), hang()
    begun = time.monotonic()
    with pytest.raises(NeverRetry) as said:
        store.install(poison)
    taken = time.monotonic() - begun
    proof.says(n=1, result=str(said.value), taken_s=round(taken, 2))
    assert f"not done after {_SECONDS_MAX:g} s" in str(said.value) or "SIG" in str(said.value)
    assert store.load().package.manifest.version == 1


def _any_signer(data: bytes, verifier: Verifier, *, signer: str, limits: Limits) -> Tried:
    """The trial without asking who signed."""
    return verified(_signed_by_us(data), verifier, signer=signer, limits=limits)


def _signed_by_us(data: bytes) -> bytes:
    return data[:8] + KEY.key_id + KEY.sign(data[:8] + data[76:]) + data[76:]


def _activated(folder: Path, poisons: list[Poison], store: ModelStore) -> int:
    """How many of these become active."""
    activated = 0
    for poison in poisons:
        try:
            store.install(poison.data)
        except NeverRetry:
            continue
        activated += 1
        for path in folder.glob("*"):
            path.unlink()
        ModelStore(folder, ring(), trial=verified).install(write_package(network_package(1), KEY))
    return activated


def test_without_asking_who_signed_strangers_get_in(folder: Path, proof: Proof) -> None:
    """Negative control: the signature unasked, unsigned packages become active."""
    poisoner = Poisoner(proof.rng())
    poisons = [poisoner.make(2 * number) for number in range(campaign(60))]
    activated = _activated(folder, poisons, ModelStore(folder, ring(), trial=_any_signer))
    proof.says(control=f"signature unasked: {activated} of {len(poisons)} unsigned packages active")
    assert activated


def test_without_a_trial_signed_poison_gets_in(folder: Path, proof: Proof) -> None:
    """Negative control: believed for its signature alone, signed poison becomes active."""
    poisoner = Poisoner(proof.rng())
    poisons = [poisoner.make(2 * number + 1) for number in range(campaign(60))]
    activated = _activated(folder, poisons, ModelStore(folder, ring(), trial=verified))
    proof.says(control=f"no trial: {activated} of {len(poisons)} signed poison packages active")
    assert activated

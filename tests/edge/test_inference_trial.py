from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np
import pytest
from model_kit import KEY, STRANGER, network_package, pca_package, ring
from tflite_kit import dense_network, layers_of

from trueline_edge.inference import trial
from trueline_edge.inference.litert import runtime_version
from trueline_edge.inference.trial import Limits, try_package
from trueline_model.package import Package, write_package
from trueline_wire.errors import NeverRetry, NotAuthentic

GOOD = network_package()


def refusal(package: Package, limits: Limits | None = None) -> str:
    with pytest.raises(NeverRetry) as refused:
        try_package(write_package(package, KEY), ring(), limits=limits)
    return str(refused.value)


def test_a_good_package_passes_and_says_what_it_costs() -> None:
    """Golden rows answered: the package, and microseconds and bytes on this machine."""
    data = write_package(GOOD, KEY)
    tried = try_package(data, ring())
    assert tried.package.manifest.name == "pump"
    assert tried.cost.row_us > 0.0
    assert tried.cost.batched_row_us > 0.0
    assert 0 < tried.cost.memory_bytes < 40e6
    assert tried.cost.size_bytes == len(data)
    assert tried.cost.runtime == runtime_version()
    assert "us a row" in str(tried.cost)


def test_a_statistical_detector_passes_without_litert() -> None:
    """Arrays alone need no runtime."""
    assert try_package(write_package(pca_package(), KEY), ring()).cost.runtime == ""


def test_a_stranger_s_package_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is decoded, let alone run."""
    monkeypatch.setattr(trial, "_in_a_child", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(NotAuthentic):
        try_package(write_package(GOOD, STRANGER), ring())


def test_a_network_that_answers_otherwise_is_refused() -> None:
    """Other weights, same shapes: it loads, and its golden rows give it away; the control is the test above."""
    other = dense_network(layers_of([16, 8, 16], seed=2), (8, 2), (8, 2))
    assert "golden rows" in refusal(network_package(network=other))


def test_a_golden_score_that_was_changed_is_refused() -> None:
    """The same the other way round; beyond the tolerance, and not within it."""
    score = GOOD.golden.score.copy()
    greatest = float(np.nanmax(score))
    score[50] += 0.02 * greatest
    changed = dataclasses.replace(GOOD, golden=dataclasses.replace(GOOD.golden, score=score))
    assert "row 50" in refusal(changed)
    within = GOOD.golden.score.copy()
    within[50] += 0.005 * greatest
    near = dataclasses.replace(GOOD, golden=dataclasses.replace(GOOD.golden, score=within))
    try_package(write_package(near, KEY), ring())


def test_golden_rows_it_should_not_speak_of_are_refused() -> None:
    """A score where none was written down is as wrong as the other way."""
    score = GOOD.golden.score.copy()
    score[60] = np.nan
    changed = dataclasses.replace(GOOD, golden=dataclasses.replace(GOOD.golden, score=score))
    assert "other rows" in refusal(changed)


def test_too_much_memory_is_refused() -> None:
    """The process is ended, or told; the agent has lost nothing. It has 256 MB where nothing else is said."""
    assert Limits().memory_max_bytes == 256 * 1024 * 1024
    said = refusal(GOOD, Limits(memory_max_bytes=100 * 1024 * 1024))
    assert "memory" in said or "without a finding" in said or "ended by" in said or "Error" in said


def test_too_much_time_is_refused_and_the_process_is_gone() -> None:
    """Whatever hangs is ended within the time allowed."""
    begun = time.monotonic()
    said = refusal(GOOD, Limits(time_max_s=0.01))
    assert "not done after 0.01 s" in said
    assert time.monotonic() - begun < 4.0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('x' * 1000000)", "without a finding"),
    ],
)
def test_a_process_that_dies_is_a_refusal(program: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash, silent end and babble all refuse the package, and say how it went."""
    real = trial.subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        code = f"import sys; print(flush=True); sys.stdin.buffer.read(); {program}"
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(trial.subprocess, "Popen", popen)
    assert said in refusal(GOOD)


def test_a_process_that_does_not_start_is_said_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to start is not the package's: it has its own limit, and its own words."""
    real = trial.subprocess.Popen
    monkeypatch.setattr(trial, "_START_MAX_S", 0.01)

    def popen(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", "import time; time.sleep(60)"], **options)

    monkeypatch.setattr(trial.subprocess, "Popen", popen)
    assert "no process was ready" in refusal(GOOD)

"""The model a stage asks for: found, verified, tried, and made into the judge or the predictor that serves.

Promises: what `open_model` gives was signed by the key that is named and has passed its trial, on this machine and with
the LiteRT that is installed. A folder's active version passed when it was installed; a single file is tried each time
it is opened by a new process.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from trueline_edge.inference.store import NOTE, ModelStore, Served, digest_of
from trueline_edge.inference.trial import try_package
from trueline_model.judge import judge_of
from trueline_model.prediction import KIND, Rehearsal, prediction_of
from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.keys import KeyRing

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.inference.trial import Tried
    from trueline_model.detector import Detector
    from trueline_model.interval import Intervals
    from trueline_model.judge import Judge
    from trueline_model.package import Package
    from trueline_model.prediction import Predictor

__all__ = ["mark_of", "open_model", "rehearsed", "serve", "serve_prediction"]


def open_model(path: Path, public_key: bytes) -> Served:
    """A model that may serve.

    Args:
        path: a folder of versions (`ModelStore`), or one package.
        public_key: of the one who must have signed it.

    Raises:
        ConfigError: there is none, or none that passes; the message says why.
    """
    if path.is_dir():
        ring = KeyRing()
        ring.trust("cloud", public_key)
        return ModelStore(path, ring).load()
    try:
        data = path.read_bytes()
        tried = _tried(data, public_key)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except NeverRetry as error:
        raise ConfigError(f"{path}: {error}") from error
    return Served(tried.package, digest_of(data), tried.cost)


def mark_of(path: Path) -> tuple[int, int, int] | None:
    """What changes with the model that is to serve: a look at one file's entry, no byte of it is read.

    Args:
        path: as `open_model`.
    """
    for file in (path / NOTE, path):
        try:
            there = file.stat()
        except OSError:
            continue
        return there.st_ino, there.st_mtime_ns, there.st_size
    return None


@lru_cache(maxsize=16)  # a configuration is checked, and then run: the same file twice
def _tried(data: bytes, public_key: bytes) -> Tried:
    ring = KeyRing()
    ring.trust("cloud", public_key)
    return try_package(data, ring)


def serve(
    package: Package, *, rate_hz: float | None = None, gap_s: float | None = None, memory_rows: int | None = None
) -> Judge:
    """The judge of a package that has passed its trial.

    Args:
        package: see there.
        rate_hz: false alarms a second; the package's own rate where left out.
        gap_s: without a row for longer, the detector starts anew.
        memory_rows: p-values are counted among so many scores, the last ones.

    Raises:
        NeverRetry: it cannot be made after all.
        ConfigError: it holds a network, and LiteRT is not installed; or it cannot support the rate.
    """
    if not package.network:
        return judge_of(package, rate_hz=rate_hz, gap_s=gap_s, memory_rows=memory_rows)
    from trueline_edge.inference.litert import LiteRt  # noqa: PLC0415 - paid for where a network runs

    return judge_of(package, LiteRt, rate_hz=rate_hz, gap_s=gap_s, memory_rows=memory_rows)


def serve_prediction(package: Package) -> tuple[Predictor, Intervals]:
    """The predictor of a package that has passed its trial, and its intervals.

    Raises:
        NeverRetry: it cannot be made after all, or the package detects.
        ConfigError: LiteRT is not installed.
    """
    from trueline_edge.inference.litert import LiteRt  # noqa: PLC0415 - paid for where a network runs

    return prediction_of(package, LiteRt)


def rehearsed(package: Package) -> Detector:
    """What a trial asks about the golden rows: the detector of a package, or its predictor in the form of one.

    A verdict comes with an event, and that may be in a year: whether it can be had is seen now.

    Raises:
        NeverRetry: it cannot be made.
        ConfigError: it holds a network, and LiteRT is not installed.
    """
    if package.manifest.kind == KIND:
        return Rehearsal(serve_prediction(package)[0], package.manifest.interval_s)
    judge, golden = serve(package), package.golden
    if judge.verdict_rows:
        rows = [row % len(golden.value) for row in range(judge.verdict_rows)]
        judge.verdict(golden.value[rows], golden.valid[rows], len(rows) - 1)
    return judge.detector

"""Versions of one model in a folder, of which exactly one is active, whatever moment the power goes.

Promises: `install` activates a package only after its trial, and only with a version above those there; wherever it is
interrupted, `load` afterwards gives the old model or the new one, whole. A bad package changes nothing: the last good
one stays. Should the active file rot on the disk, `load` goes back to the one before it, and says so.

    FOLDER/pump-3.tlm      a version; complete, or not there (written beside, synced, renamed, folder synced)
    FOLDER/active.json     which one serves, which served before, what the trial found (written the same way)

Refuses to know where packages come from.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from trueline_edge.inference.litert import runtime_version
from trueline_edge.inference.trial import Cost, Limits, Tried, try_package
from trueline_model.package import PACKAGE_SIZE_MAX, read_package
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trueline_model.package import Package
    from trueline_wire.keys import Verifier

__all__ = ["NOTE", "Disk", "ModelStore", "Served", "Trial", "digest_of"]

_LOG: Final = logging.getLogger(__name__)
NOTE: Final = "active.json"
"""Which version serves."""
_NEW: Final = ".new"


class Served(NamedTuple):
    """A model that may serve.

    Attributes:
        package: verified, and tried here.
        digest: first 8 bytes of the SHA-256 of the file: names this very model.
        cost: what its trial found.
        refused: why files that come before it do not serve, in words; empty where all is well.
    """

    package: Package
    digest: bytes
    cost: Cost
    refused: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    cost: Cost


class _Active(msgspec.Struct, frozen=True, kw_only=True):
    """Which version serves; `before`: which to go back to."""

    serves: _Entry
    before: _Entry | None = None


class Trial(Protocol):
    """How a package is tried: `try_package`, or a test's own."""

    def __call__(self, data: bytes, verifier: Verifier, *, signer: str, limits: Limits) -> Tried:
        """As `try_package`."""
        raise NotImplementedError


class Disk:
    """What the store asks of a file system, one step at a time; a test cuts the power between any two."""

    def write(self, path: Path, data: bytes) -> None:
        """Put bytes into a new file; nothing of it need last yet."""
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """What was written to the file lasts."""
        _sync(path)

    def replace(self, source: Path, target: Path) -> None:
        """Rename; which name it has after a power cut is open until the folder is synced."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """The folder's names last."""
        _sync(folder)

    def remove(self, path: Path) -> None:
        """Take a file away."""
        path.unlink(missing_ok=True)


class ModelStore:
    """The versions of one model.

    Args:
        folder: theirs alone; made when the first is installed.
        verifier: who is trusted.
        signer: who must have signed them.
        limits: of a trial.
        trial: how a package is tried.
        disk: where versions are kept; a test's own fails.
    """

    def __init__(
        self,
        folder: Path,
        verifier: Verifier,
        *,
        signer: str = "cloud",
        limits: Limits | None = None,
        trial: Trial = try_package,
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._verifier = verifier
        self._signer = signer
        self._limits = limits or Limits()
        self._trial = trial
        self._disk = disk or Disk()

    def install(self, data: bytes) -> Served:
        """Verify, try, keep and activate a package.

        Raises:
            NotAuthentic: it is not signed by the signer.
            NeverRetry: it failed its trial, or is not newer than the active one.
            ConfigError: the folder cannot be written.
        """
        tried = self._trial(data, self._verifier, signer=self._signer, limits=self._limits)
        manifest = tried.package.manifest
        try:
            with self._locked():
                self._refuse_older(tried.package, data)
                before = self._active()
                path = self._folder / manifest.file_name
                self._put(path, data)
                entry = _Entry(file=path.name, cost=tried.cost)
                last = None if before is None else before.before if before.serves.file == path.name else before.serves
                self._put(self._folder / NOTE, msgspec.json.encode(_Active(serves=entry, before=last)))
                self._tidy({entry.file, *([last.file] if last else [])})
        except OSError as error:
            self._forget_halves()
            raise ConfigError(f"{self._folder}: the model cannot be kept: {error.strerror or error}") from error
        return Served(tried.package, digest_of(data), tried.cost)

    def rollback(self) -> Served:
        """Go back to the version before the active one, and keep the active one no longer.

        Raises:
            ConfigError: there is none.
        """
        with self._locked():
            active = self._active()
            if active is None or active.before is None:
                raise ConfigError(f"{self._folder}: there is no version to go back to")
            self._put(self._folder / NOTE, msgspec.json.encode(_Active(serves=active.before)))
            self._tidy({active.before.file})
        return self.load()

    def load(self) -> Served:
        """The model that serves: the active one, or the best that is left where that cannot.

        Raises:
            ConfigError: none can; the message says why of each.
        """
        refused: list[str] = []
        for file, cost in self._candidates():
            try:
                served = self._read(self._folder / file, cost)
            except (NeverRetry, OSError) as error:
                refused.append(f"{file}: {error}")
                continue
            for reason in refused:
                _LOG.error("a model does not serve: an older one does", extra={"reason": reason, "serves": file})
            return served._replace(refused=tuple(refused))
        raise ConfigError(f"{self._folder}: no model serves" + "".join(f"\n  {reason}" for reason in refused))

    def versions(self) -> list[str]:
        """The files of complete versions, the newest first."""
        numbered = [(_version_of(path.name), path.name) for path in self._folder.glob("*.tlm")]
        return [name for _, name in sorted(numbered, reverse=True)]

    # ------------------------------------------------------------ inside

    def _candidates(self) -> Iterator[tuple[str, Cost | None]]:
        """Files in the order in which they may serve, each with what its trial found, where that is known."""
        active = self._active()
        known = [entry for entry in (active.serves, active.before) if entry] if active else []
        for entry in known:
            yield entry.file, entry.cost
        for file in self.versions():
            if file not in {entry.file for entry in known}:
                yield file, None

    def _read(self, path: Path, cost: Cost | None) -> Served:
        """A version from the disk; tried again where it was not tried with the LiteRT that is here now."""
        if path.stat().st_size > PACKAGE_SIZE_MAX:
            raise NeverRetry("longer than a package may be")
        data = path.read_bytes()
        package = read_package(data, self._verifier, self._signer)
        if package.manifest.file_name != path.name:
            raise NeverRetry(f"holds {package.manifest.file_name}")
        if cost is None or (package.network and cost.runtime != runtime_version()):
            cost = self._trial(data, self._verifier, signer=self._signer, limits=self._limits).cost
        return Served(package, digest_of(data), cost)

    def _active(self) -> _Active | None:
        """What `active.json` says; None where there is none that can be read."""
        try:
            return msgspec.json.decode((self._folder / NOTE).read_bytes(), type=_Active)
        except (OSError, msgspec.DecodeError):
            return None

    def _refuse_older(self, package: Package, data: bytes) -> None:
        """A signed package of last year is no update.

        Raises:
            NeverRetry: it is not newer, or of another model.
        """
        manifest = package.manifest
        for file in self.versions():
            try:
                there = (self._folder / file).read_bytes()
                serving = read_package(there, self._verifier, self._signer).manifest
            except (NeverRetry, OSError):
                continue  # what cannot serve forbids nothing
            if serving.name != manifest.name:
                raise NeverRetry(f"{manifest.file_name}: the folder {self._folder} holds versions of {serving.name!r}")
            if serving.version > manifest.version or (serving.version == manifest.version and there != data):
                raise NeverRetry(f"{manifest.file_name}: {file} is there already: a new model has a higher version")
            return

    def _put(self, path: Path, data: bytes) -> None:
        """A file that is there whole, or not at all: written beside, synced, renamed, folder synced."""
        beside = path.with_name(path.name + _NEW)
        self._disk.write(beside, data)
        self._disk.sync(beside)
        self._disk.replace(beside, path)
        self._disk.sync_folder(path.parent)

    def _tidy(self, keep: set[str]) -> None:
        """Take away versions nobody goes back to, and what an interrupted install left."""
        for path in [*self._folder.glob("*.tlm"), *self._folder.glob(f"*{_NEW}")]:
            if path.name not in keep:
                self._disk.remove(path)

    def _forget_halves(self) -> None:
        """Give back the room a file took that could not be finished."""
        with suppress(OSError):
            for path in self._folder.glob(f"*{_NEW}"):
                self._disk.remove(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One installs at a time."""
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._disk.sync_folder(self._folder.parent)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _version_of(file: str) -> int:
    with suppress(ValueError):
        return int(file.removesuffix(".tlm").rpartition("-")[2])
    return 0


def digest_of(data: bytes) -> bytes:
    """First 8 bytes of the SHA-256 of a package: names this very model."""
    import hashlib  # noqa: PLC0415 - asked once a model

    return hashlib.sha256(data).digest()[:8]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

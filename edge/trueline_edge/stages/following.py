"""The model a stage serves, followed while the stage runs: what is installed later takes its place between two batches.

Promises: where no model serves, that is said once in the log and the stage runs on: an agent does not die of its model.
A new one that does not serve leaves the one before in its place. Refuses to know what models do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from trueline_edge.inference.serving import mark_of
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Followed", "Following"]

_LOG: Final = logging.getLogger(__name__)


class Followed(Protocol):
    """What a stage makes of a package."""

    @property
    def digest(self) -> bytes:
        """Names the package."""
        raise NotImplementedError

    @property
    def news(self) -> dict[str, str]:
        """For the log: "stage", "model" and "cost"."""
        raise NotImplementedError


M = TypeVar("M", bound=Followed)


class Following(Generic[M]):
    """The model that serves now.

    Args:
        path: of the configuration.
        stage: its name, for the log.
        make: the model that is there now, or None where it is the one with the digest given; raises ConfigError or
            NeverRetry where none serves.
        without: what happens where none serves, for the log.
    """

    def __init__(self, path: Path, stage: str, make: Callable[[bytes], M | None], without: str) -> None:
        self._path, self._stage, self._make = path, stage, make
        self.model: M | None = None
        self._seen = mark_of(path)
        try:
            self.model = make(b"")
        except (ConfigError, NeverRetry) as error:
            extra = {"stage": stage, "reason": str(error)}
            _LOG.error("no model serves: %s", without, extra=extra)
        self._told = self.model is None

    @property
    def digest(self) -> bytes:
        """Of the model; empty where none serves."""
        return b"" if self.model is None else self.model.digest

    def serving(self) -> M | None:
        """The model, asked for when rows come: the first time it says so in the log."""
        if not self._told and self.model is not None:  # not where a configuration is only checked
            _LOG.info("a model serves", extra=self.model.news)
            self._told = True
        return self.model

    def maybe_renewal(self, switched: Callable[[M | None], None]) -> Callable[[], Callable[[], None]] | None:
        """See `Renewable`: a look at one file says whether there is another model.

        Args:
            switched: told the model before, once another has taken its place.
        """
        mark = mark_of(self._path)
        if mark == self._seen:
            return None
        self._seen = mark
        return lambda: self._renewal(switched)

    def _renewal(self, switched: Callable[[M | None], None]) -> Callable[[], None]:
        """Verify, try and make the model that is there now; what is given takes it."""
        try:
            model = self._make(self.digest)
        except (ConfigError, NeverRetry) as error:
            serves = self.model.news["model"] if self.model else "none"
            extra = {"stage": self._stage, "reason": str(error), "serves": serves}
            return lambda: _LOG.error("a new model does not serve: the one before does", extra=extra)
        return lambda: None if model is None else self._take(model, switched)

    def _take(self, model: M, switched: Callable[[M | None], None]) -> None:
        before, self.model, self._told = self.model, model, False
        switched(before)

"""A package as the detector that serves: its network through LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueline_model.load import detector_of

if TYPE_CHECKING:
    from trueline_model.detector import Detector
    from trueline_model.package import Package

__all__ = ["serve"]


def serve(package: Package) -> Detector:
    """The detector of a package that has passed its trial.

    Raises:
        NeverRetry: it cannot be made after all.
        ConfigError: it holds a network, and LiteRT is not installed.
    """
    if not package.network:
        return detector_of(package)
    from trueline_edge.inference.litert import LiteRt  # noqa: PLC0415 - paid for where a network runs

    return detector_of(package, LiteRt)

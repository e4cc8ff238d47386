"""From a package to a detector that answers as its maker saw it answer.

Promises: `detector_of` gives the detector a package describes or says what does not fit; `check_golden` returns only
where every golden row gets the score that was written down, and gets the same bits however the rows are cut. Refuses to
know what runs a network: that comes in as a callable.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from trueline_model.detector import Parts
from trueline_model.detectors import detector_from, network_in
from trueline_model.package import Golden
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from trueline_model.detector import Detector
    from trueline_model.detectors.network import Model
    from trueline_model.package import Package

__all__ = ["ROWS_MAX", "NetworkRunner", "check_golden", "detector_of", "golden_of"]

ROWS_MAX: Final = 1024
"""Rows a detector is given at once: windows of very many at a time are memory, and no faster."""

_SINGLE_ROWS: Final = 64
"""Golden rows that are also scored one by one."""


class NetworkRunner(Protocol):
    """What makes a `.tflite` file a callable."""

    def __call__(self, network: bytes, window: tuple[int, ...], answer: tuple[int, ...]) -> Model:
        """The network, which must take a window of this shape and give an answer of that one.

        Raises:
            NeverRetry: the file is no network, or one of other shapes.
        """
        raise NotImplementedError


def detector_of(package: Package, run: NetworkRunner | None = None) -> Detector:
    """The detector of a package.

    Args:
        package: see there.
        run: what runs a network; where left out, a package that holds one is refused.

    Raises:
        NeverRetry: the package describes no detector there is, or its network does not fit it.
    """
    manifest = package.manifest
    parts = Parts(manifest.kind, manifest.settings, dict(package.arrays))
    k = len(manifest.inputs)
    model: Model | None = None
    try:
        if package.network:
            if run is None:
                raise NeverRetry(f"{manifest.file_name} holds a network, and there is nothing here to run it")
            recipe = network_in(parts)
            if recipe is None:
                raise NeverRetry(f"a network beside a detector of kind {parts.kind!r}, which has no use for it")
            model = run(package.network, (recipe.rows, k), recipe.answer(k))
        detector = detector_from(parts, model)
    except (ConfigError, ValueError) as error:
        raise NeverRetry(f"{manifest.file_name}: {error}") from error
    if detector.width != k:
        raise NeverRetry(f"{manifest.file_name}: a detector of {detector.width} channels, and {k} inputs")
    return detector


def golden_of(detector: Detector, value: ArrayLike, valid: ArrayLike) -> Golden:
    """Rows with the scores this detector gives them, from a start.

    Args:
        detector: as it will be packed.
        value: (g, k) rows of normal running and of faults, more than the detector warms up.
        valid: (g, k).

    Raises:
        ValueError: it scores none of them.
    """
    values, good = np.array(value, np.float64), np.array(valid, np.bool_)
    values[~good] = 0.0  # what is not valid means nothing, and is not carried along
    return Golden(values, good, detector.score(values, good).score)


def check_golden(detector: Detector, golden: Golden, tolerance: float) -> None:
    """Return if the detector says of the golden rows what was written down.

    Args:
        detector: fresh.
        golden: see `Golden`.
        tolerance: greatest difference, relative to the greatest score.

    Raises:
        NeverRetry: it does not, or says another thing where the rows are cut elsewhere.
    """
    rows = len(golden.score)
    got = _score(detector, golden, [*range(0, rows, ROWS_MAX), rows])
    wanted = golden.score
    if got.shape != wanted.shape or not np.array_equal(np.isnan(got), np.isnan(wanted)):
        raise NeverRetry("golden rows: it speaks of other rows than it should")
    # Of a row nobody speaks of, nothing is compared; an infinite score differs from every finite one.
    difference = np.where(np.isnan(wanted), 0.0, np.abs(got - wanted))
    row = int(difference.argmax())
    if not difference[row] <= tolerance * float(np.nanmax(np.abs(wanted))):
        raise NeverRetry(
            f"golden rows: row {row} scores {got[row]:.6g}, and {wanted[row]:.6g} was written down: "
            "it does not run here as where it was made"
        )
    # Row by row, then the rest: the same bits.
    single = min(_SINGLE_ROWS, rows)
    again = _score(detector, golden, [*range(single), *range(single, rows, ROWS_MAX), rows])
    if not np.array_equal(again, got, equal_nan=True):
        raise NeverRetry("golden rows: the scores depend on where the rows are cut")


def _score(detector: Detector, golden: Golden, cuts: list[int]) -> NDArray[np.float64]:
    """(g,) the scores of the golden rows, in batches from each cut to the next."""
    state, scores = None, []
    for start, end in pairwise(cuts):
        scored = detector.score(golden.value[start:end], golden.valid[start:end], state)
        scores.append(scored.score)
        state = scored.state
    return np.concatenate(scores)

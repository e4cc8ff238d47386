"""Networks of the zoo as rows of `detect.py`: int8 beside float, each training kept in a folder.

Promises: a network is fitted to the training part of each series alone, its last fifth says when to stop; what is kept
is used again only for the same network's source, data, settings and seed.
"""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_cloud.learning.choose import without_networks
from trueline_cloud.learning.settings import TrainSettings
from trueline_model.detector import score_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _detect_case import Case
    from numpy.typing import NDArray

TRAINING = TrainSettings(epochs_max=30, windows_max=4096)
ROWS_A_BATCH = 4096
KEPT = Path(tempfile.gettempdir()) / "trueline-networks"
"""Where trained networks are, if nobody says otherwise."""


class Trained(NamedTuple):
    """What a network says of the test rows (n,), int8 and float, and what it costs."""

    small: NDArray[np.float64]
    whole: NDArray[np.float64]
    us: float
    kb: float


def there_are(cases: Sequence[Case]) -> tuple[list[str], str]:
    """Names of the networks for these cases, and why there are none."""
    why = without_networks([[case.train] for case in cases])
    if why:
        return [], why
    try:
        from trueline_cloud.learning.zoo import ZOO  # noqa: PLC0415 - TensorFlow
    except ModuleNotFoundError as error:
        return [], f'{error.name} is missing: pip install "trueline[train]"'
    return list(ZOO), ""


def trained(network: str, case: Case, seed: int, kept: Path) -> Trained:
    """A network on one case, from the folder where it is known."""
    from trueline_cloud.learning.zoo import ZOO  # noqa: PLC0415 - as above

    seen = hashlib.sha256(inspect.getsource(inspect.getmodule(ZOO[network].build)).encode())  # type: ignore[arg-type]  # a function of a file
    seen.update(repr((network, ZOO[network].rows, TRAINING, seed)).encode())
    for series in (case.train, case.test):
        seen.update(series.value.tobytes() + np.packbits(series.valid).tobytes())
    file = kept / f"{network}-{seen.hexdigest()[:24]}.npz"
    if not file.exists():
        kept.mkdir(parents=True, exist_ok=True)
        found = _train(network, case, seed)
        part = file.with_suffix(".part.npz")
        np.savez(part, **found._asdict())
        part.replace(file)
    with np.load(file, allow_pickle=False) as known:
        return Trained(known["small"], known["whole"], float(known["us"]), float(known["kb"]))


def _train(network: str, case: Case, seed: int) -> Trained:
    from trueline_cloud.learning.recipes import NetworkRecipe  # noqa: PLC0415 - TensorFlow

    recipe = NetworkRecipe(network, None, "window", TRAINING)
    fitted = recipe.fitted([case.train], seed)
    small, whole = (
        score_series(each, case.test, batch=ROWS_A_BATCH).score for each in (fitted.detector, fitted.reference)
    )
    return Trained(small, whole, fitted.latency_us, len(fitted.tflite) / 1000)

"""Named streams of random numbers: one generator for each (seed, purpose), so that no draw moves another.

Promises: the same seed and purpose give the same numbers on every machine; another purpose or seed gives unrelated ones
(the key of a counter-based generator is a hash: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
Whoever draws in time order, (steps, devices) with time first, and draws one distribution from one stream, gets the same
numbers wherever the work is cut into blocks. Refuses to know what the numbers are for.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """The generator of one purpose.

    Args:
        seed: of the world; any whole number.
        purpose: names what is drawn, from the general to the particular, such as `"greenhouse", "weather"`.
    """
    text = "\0".join((str(seed), *purpose))
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))

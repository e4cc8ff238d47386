"""TensorFlow and Keras, loaded without the pages they print; every module of this room takes them from here."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["keras", "quiet", "tf"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what C++ writes to the standard outputs."""
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, file in zip((1, 2), kept, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.close(nowhere)


os.environ.setdefault(
    "CUDA_VISIBLE_DEVICES", "-1"
)  # small networks: a graphics card is slower to ask than to do without
with quiet():
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it warns of a graph made anew for each training, as is meant
    tf.config.list_physical_devices()  # the rest of what it has to say is said here

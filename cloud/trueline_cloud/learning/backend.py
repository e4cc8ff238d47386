"""TensorFlow and Keras, loaded without the pages they print; every module of this room takes them from here."""

from __future__ import annotations

import os

from trueline_cloud.learning.lite import quiet

__all__ = ["keras", "tf"]

os.environ.setdefault(
    "CUDA_VISIBLE_DEVICES", "-1"
)  # small networks: a graphics card is slower to ask than to do without
with quiet():
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it warns of a graph made anew for each training, as is meant
    tf.config.list_physical_devices()  # the rest of what it has to say is said here

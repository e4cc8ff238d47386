"""Estimation: arrays in, arrays out. Has never heard of a sensor, a flag or a file.

Each hot loop exists twice: compiled (`hot.pyx` and the `.pxi` it includes) and as short textbook Python (`textbook`),
which is its oracle in the tests and its stand-in where no compiler was at hand. `kernels` chooses, and is what
everybody else imports.
"""

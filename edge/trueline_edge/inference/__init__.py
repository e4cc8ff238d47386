"""Models on the device: run, tried out before they serve, and kept so that a power cut leaves a good one.

Promises: a package serves only if it was signed by the key that is trusted, fits its own description, and answered its
golden rows here, in a process of its own, under limits. Refuses to know stages, streams and the link.
"""

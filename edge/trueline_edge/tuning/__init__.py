"""`trueline-edge tune`, at a desk: noises fitted to a recording for the stage `fuse`, versions for `self_calibrate`."""

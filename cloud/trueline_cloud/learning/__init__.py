"""Where models are made: recordings -> windows -> network -> int8 -> package. Nothing else of ours knows TensorFlow."""

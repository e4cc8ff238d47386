"""Score what comes out of a pipeline against what was true."""

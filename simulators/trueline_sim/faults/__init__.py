"""Faults of sensors, clocks and links, each with start, end, kind and magnitude: drawn, labelled, applied."""

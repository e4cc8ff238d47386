"""Numbers on the command line: what cannot be is refused with the bound it missed."""

from __future__ import annotations

import argparse

__all__ = ["above_zero", "count"]


def count(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: above 0")
    return number

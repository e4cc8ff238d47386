"""Fleets with known truth."""

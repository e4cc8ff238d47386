"""Sensors as their datasheets describe them: what a part makes of the truth, and what it lets one state about it."""

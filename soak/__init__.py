"""Faults under load: what the reliability statements say, at a scale that the test command has no time for."""

"""Proves that nothing is missing: compares what was emitted with what is stored, and rebuilds the views."""

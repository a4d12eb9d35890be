"""Proves that nothing is missing: compares emitted events with stored ones; rebuilds the views."""

"""Delivers the events of runs to one sink, in order and once."""

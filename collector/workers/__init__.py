"""Starts, watches and restarts the worker processes; the loop that runs inside each."""

"""Stores artifacts, off the event loop: one job after the other.

A job hashes and syncs the spooled bytes, makes them a blob, and claims a version number. Only then a note in
the log names the version. Every step can be repeated, so a kill between two steps loses nothing.
"""

"""Stores artifacts: the keeper does one job after the other, off the event loop.

A job's way: the spooled bytes are hashed and synced, become a blob, get a version number, and only then
a note in the log names them. Every step can be repeated, so a kill between two of them costs nothing.
"""

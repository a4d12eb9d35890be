"""Artifacts: files and folders that a run keeps, in versions.

The training takes a snapshot into the *spool* and emits an event that names it. The store writer makes
a *job* of the event, the collector's keeper does it: hash, blob, version number, link, and then a note
in the log that says what became of it. ``docs/artifacts.md`` is the text for users.
"""

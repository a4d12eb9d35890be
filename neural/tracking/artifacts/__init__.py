"""Artifacts: files and folders that a run keeps, in versions.

The training takes a snapshot into the *spool* and emits an event that names it. The store makes a *job* of the
event. The collector's artifact store does the job: hash, blob, version number, link, and then a note in the log
with the outcome. ``docs/artifacts.md`` is the text for users.
"""

"""The ``ntrack`` command; the module of a command is imported when the command is used."""

from neural.tracking.cli.app import main

__all__ = ["main"]

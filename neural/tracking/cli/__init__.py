"""The ``ntrack`` command; each command's module is imported when the command is used."""

from neural.tracking.cli.app import main

__all__ = ["main"]

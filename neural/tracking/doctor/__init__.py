"""Finds problems of this machine and folder; each finding has advice on what to do."""

"""Looks for problems of this machine and folder, and says what to do about each."""

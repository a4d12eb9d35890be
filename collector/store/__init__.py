"""The store: builds run folders from the log."""

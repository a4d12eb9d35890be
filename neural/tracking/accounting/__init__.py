"""What was emitted against what is stored: every number of every session, wherever it is."""

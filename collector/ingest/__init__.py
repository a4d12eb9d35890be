"""Takes events from the network and from orphaned outboxes, and appends them to the log."""

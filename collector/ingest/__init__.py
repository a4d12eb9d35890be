"""From the network and from abandoned outboxes to the log."""

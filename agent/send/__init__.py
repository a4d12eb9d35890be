"""The sender thread: from the outbox to the collector."""

"""The hot path: from a log call to a record in the outbox."""

"""The courier, a process of its own: delivers outboxes and artifacts of this host to a remote collector."""

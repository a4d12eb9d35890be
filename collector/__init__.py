"""The daemon: receives events of all sessions, makes them durable, acknowledges them, and runs the workers."""

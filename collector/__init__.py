"""The daemon: takes events from every session, makes them durable, acknowledges them, and runs the workers."""

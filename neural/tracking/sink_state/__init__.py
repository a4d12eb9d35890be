"""The configuration, progress and status of sinks, as every other part sees them."""

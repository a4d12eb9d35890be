"""The configuration, progress and status of sinks, for all parts except the sinks themselves."""

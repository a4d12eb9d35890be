"""The write-ahead log: appended and synced by the collector, read by the workers."""

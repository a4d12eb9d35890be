"""The backends that events are delivered to: one file each, behind one protocol."""

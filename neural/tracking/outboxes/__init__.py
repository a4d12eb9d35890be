"""Outboxes on disk, as whoever comes after their processes finds them."""

"""Collectors on other hosts: their addresses, the keys both sides need, whether one can be reached."""

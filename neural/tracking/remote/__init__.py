"""Connections to collectors on other hosts: keys of both sides, socket options, and a probe."""

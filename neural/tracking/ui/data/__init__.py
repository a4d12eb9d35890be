"""Reads and caches the data of runs for the page. Needs no Dash."""

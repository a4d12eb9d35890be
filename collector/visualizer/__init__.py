"""Draws the plots of live and finished runs."""

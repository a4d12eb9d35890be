"""Converts hyperparameters of any kind into plain values and into events."""

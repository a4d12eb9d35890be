"""Turns whatever users pass as hyperparameters into plain values and into events."""

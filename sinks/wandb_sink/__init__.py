"""Delivers to Weights & Biases."""

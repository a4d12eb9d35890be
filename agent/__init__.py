"""Runs inside the training process: packs events, keeps them in the outbox and ships them to the collector."""

"""What the tracker and the manager are made of."""

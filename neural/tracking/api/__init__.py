"""The parts of the tracker and the manager."""

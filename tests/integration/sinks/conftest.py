"""The fixture of all tests here."""

from tests.sinkbench import bench

__all__ = ["bench"]

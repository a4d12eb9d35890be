"""The bench that every test here works on."""

from tests.sinkbench import bench

__all__ = ["bench"]

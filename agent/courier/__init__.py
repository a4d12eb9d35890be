"""The courier, a process of its own: delivers to a collector on another host what other processes left."""

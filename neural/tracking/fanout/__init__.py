"""Which sinks there are, what each was given of a run, and how they fare, as everyone but the sinks sees it."""

"""Makes tables, figures and ``docs/comparison.md`` from the measured results."""

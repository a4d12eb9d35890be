"""From what was measured to a table, figures and ``docs/comparison.md``."""

"""What the page knows of the runs: read cheaply, kept while it does not change. Needs no Dash."""

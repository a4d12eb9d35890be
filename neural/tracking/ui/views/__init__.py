"""One file for each tab: ``layout`` returns its first content, ``register`` adds its callbacks."""

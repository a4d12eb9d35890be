"""One file a tab: ``layout`` makes what it shows at first, ``register`` adds what makes it answer."""

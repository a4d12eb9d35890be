"""The formats on disk and on the wire, one module each; ``docs/`` describes them."""

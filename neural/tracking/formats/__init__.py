"""The formats on disk and on the wire, one file each; ``docs/`` describes them."""

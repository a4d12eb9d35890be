"""Where the pictures of a run lie: ``plots/<name>.png``, those drawn by themselves with ``auto_`` in front."""

FOLDER = "plots"
AUTOMATIC = "auto_"

"""One training process of the comparison, in the tool's environment.

The driver runs it as ``trial.py MODULE MODE MEASURE FOLDER OPTIONS``. It writes ``FOLDER/result.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Run the trial and write its result, the whole file at once."""
    module, mode, measure, folder, options = sys.argv[1:]
    where = Path(folder)
    peer = importlib.import_module(f"peers.{module}").make(mode)
    result = importlib.import_module(f"measures.{measure}").trial(peer, where, json.loads(options))
    temporary = where / "result.tmp"
    temporary.write_text(json.dumps(result))
    os.rename(temporary, where / "result.json")


if __name__ == "__main__":
    main()

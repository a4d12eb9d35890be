"""Writes ``run-v1``, a run folder that every later release must read: ``python -m tests.golden.make_run``.

Run it only when the format's version changes, with a new name: the old folder must remain.
"""

import math
import shutil
import tempfile
from pathlib import Path

from tests.made_runs import Emitter, Log, applied, folder_of

FOLDER = Path(__file__).parent / "run-v1"


def main():
    with tempfile.TemporaryDirectory() as base_dir:
        log = Log(base_dir)
        (log.state.root / "id").write_text("0123abcd")
        zero = Emitter(bytes(range(16)), bytes(range(16, 32)), name="golden")
        one = Emitter(zero.uid, bytes(range(32, 48)), rank=1, role="rank", name="golden")
        zero.open(tags=["first", "größer"], notes="a note", group="g", settings={"backend": []})
        zero.event("params", values={"lr": 0.1, "limit": math.inf, "net": {"depth": 2}}, as_text=["net.depth"])
        one.open()
        log.add(zero).add(one)
        for i in range(20):
            zero.metrics({"loss": 1 / (i + 1), "train/acc": i / 20}, step=i)
            one.metrics({"loss": 2 / (i + 1)}, step=i)
        zero.metrics({"loss": math.nan, "inf": -math.inf}, step=20).gap(3)
        sink = applied(log.add(zero).add(one))
        for writer in sink.writers.values():
            writer.compact()
        zero.metrics({"loss": 0.5}, step=21).event("text", name="sample", text="line\nbreak", step=21).end()
        applied(log.add(zero), sink, sink.position).close()
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(folder_of(log, zero), FOLDER)


if __name__ == "__main__":
    main()

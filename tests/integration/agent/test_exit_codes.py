"""Scripts that end by ``sys.exit`` or similar, outside ``with``: a code other than 0 means failed."""

import subprocess
import sys

from neural.tracking.formats.events import unpack_event
from neural.tracking.formats.segment import EVENT, Record, scan
from neural.tracking.state.outbox_files import Orphan, OutboxPiece

HEAD = """
import sys
from neural.tracking import ExperimentTracker
def main(base):
    tracker = ExperimentTracker("run", base, mode="offline")
    tracker.log_metrics({"loss": 1.0})
"""
ENDS = {
    "sys.exit(main(base) or 3)": ("failed", 3),
    "main(base); exit(2)": ("failed", 2),
    "main(base); sys.exit('no data')": ("failed", 1),
    "main(base); sys.exit()": ("completed", 0),
    "sys.exit(main(base))": ("completed", 0),
    "main(base); sys.exit(False)": ("completed", 0),
    "main(base)\ntry: sys.exit(3)\nexcept SystemExit: pass": ("completed", 0),
    "main(base)\ntry: sys.exit(3)\nexcept SystemExit as e: error = e": ("completed", 0),
    "main(base)\ntry: sys.exit(3)\nfinally: print('tidied')": ("failed", 3),
    "main(base)\ntry: sys.exit(3)\nexcept BaseException: raise": ("failed", 3),
    "main(base)\nimport threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()": (
        "completed",
        0,
    ),
    "main(base)\nimport argparse\nargparse.ArgumentParser().error('no')": ("failed", 2),
    "import runpy; main(base); runpy.run_path(base + '.py', run_name='__main__')": ("failed", 7),
    "from sys import exit as leave; import atexit; atexit.register(print, 'x'); main(base); sys.exit(5)": (
        "failed",
        5,
    ),
}


def end_of(base):
    """Return status and error of the end event in the only outbox."""
    (folder,) = (base / ".ntrack" / "outbox").iterdir()
    orphan = Orphan(folder)
    for piece in orphan.pieces():
        assert isinstance(piece, OutboxPiece)
        for record in scan(piece.payload, orphan.session, base=piece.base):
            if isinstance(record, Record) and record.kind == EVENT:
                event = unpack_event(record.body)
    assert event.kind == "end"
    return event.data["status"], event.data["error"]


def test_code_that_is_not_zero_means_failed(tmp_path):
    processes = []
    for number, end in enumerate(ENDS):
        base = tmp_path / str(number) / "runs"
        base.mkdir(parents=True)
        base.with_suffix(".py").write_text("import sys; sys.exit(7)")
        source = f"{HEAD}\nbase = sys.argv[1]\n{end}\n"
        command = [sys.executable, "-c", source, str(base)]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )

    errors = [process.communicate(timeout=120)[1] for process in processes]

    seen = {
        end: (*end_of(tmp_path / str(number) / "runs"), processes[number].returncode)
        for number, end in enumerate(ENDS)
    }
    assert {end: (status, code) for end, (status, _, code) in seen.items()} == ENDS
    assert all((error is not None) == (status == "failed") for status, error, _ in seen.values())
    assert not [text for text in errors if "Exception ignored" in text]

"""This release reads a run folder of the first release, value by value."""

import json
import math
import os
import shutil
import subprocess
import sys

from neural.tracking.reader import json_views
from neural.tracking.reader.run import Run
from neural.tracking.verify.rebuild import rebuild_run
from neural.tracking.verify.verify import verify_run
from tests.golden.make_run import FOLDER


def test_values_are_what_was_logged():
    run = Run(FOLDER)

    assert run.uid == bytes(range(16))
    assert run.metric("loss", ranks=0).value[:20].tolist() == [1 / (i + 1) for i in range(20)]
    assert run.metric("loss", ranks=1).value.tolist() == [2 / (i + 1) for i in range(20)]
    assert run.metric("train/acc").step.tolist() == list(range(20))
    assert math.isnan(run.metric("loss", ranks=0).value[20])
    assert run.metric("inf").value.tolist() == [-math.inf]
    assert run.metric("loss", ranks=0).value[21] == 0.5
    assert run.params == {"lr": 0.1, "limit": math.inf, "net": {"depth": 2}}
    assert run.tags == ["first", "größer"]
    assert run.texts()[0]["text"] == "line\nbreak"
    assert run.status == "completed"
    assert run.damages == []


WRITES_AND_READS = """
import pathlib, sys
from neural.tracking.reader.run import Run
from tests.golden import make_run
make_run.FOLDER = pathlib.Path(sys.argv[1])
make_run.main()
print(len(Run(make_run.FOLDER).metric("loss")))
"""


def test_pandas_is_left_alone_where_there_is_one(tmp_path):
    (tmp_path / "pandas.py").write_text("print('imported')")  # a real import takes half a second and 50 MB
    search = {"PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, "-c", WRITES_AND_READS, tmp_path / "run"]

    done = subprocess.run(command, env={**os.environ, **search}, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["22"]


def test_it_verifies_wherever_it_lies(tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(FOLDER, moved)

    report = verify_run(moved)

    assert report.exit_code == 0
    assert [(s.n, s.stored, s.gaps) for s in report.sessions] == [
        (29, 26, [(24, 26, "outbox_full")]),
        (21, 21, []),
    ]


def test_rebuilt_views_equal_those_written_live(tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(FOLDER, moved)
    for name in json_views.NAMES:
        (moved / f"{name}.json").unlink()

    rebuilt = rebuild_run(moved)

    assert {path.name for path in rebuilt} == {f"{name}.json" for name in json_views.NAMES}
    for name in json_views.NAMES:
        assert (moved / f"{name}.json").read_bytes() == (FOLDER / f"{name}.json").read_bytes(), name


def test_views_are_json_in_the_strict_sense():
    def refuse(text):
        raise ValueError(text)

    for name in json_views.NAMES:
        text = (FOLDER / f"{name}.json").read_text()
        json.loads(text, parse_constant=refuse)
    assert json.loads((FOLDER / "hyperparameters.json").read_text())["limit"] == "Infinity"

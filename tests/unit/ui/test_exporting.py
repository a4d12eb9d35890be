"""The comparison as files: all values, and nothing that a spreadsheet would execute."""

import csv
import io
import json
import math

from neural.tracking.ui.data.exporting import export
from neural.tracking.ui.data.series import SeriesStore
from tests.unit.ui.conftest import looked

EVIL = "=HYPERLINK(1)"


def exported(name, runs, catalogue):
    looked(catalogue)
    rows = sorted(catalogue.rows(), key=lambda row: row.name)
    return b"".join(export(name, runs.base_dir, rows, SeriesStore()))


def test_every_value_is_in_the_csv_once(runs, catalogue):
    runs.add("a", 30)
    runs.add("b", 5, metric=lambda step: math.nan)

    lines = list(csv.DictReader(io.StringIO(exported("comparison.csv", runs, catalogue).decode())))

    assert [float(line["value"]) for line in lines if line["run"] == "a"] == [
        1 / (step + 1) for step in range(30)
    ]
    assert [line["step"] for line in lines if line["run"] == "b"] == ["0", "1", "2", "3", "4"]
    assert {line["value"] for line in lines if line["run"] == "b"} == {"nan"}
    assert lines[0]["time"].endswith("Z")


def test_run_that_is_damaged_is_in_the_files_with_the_reason_and_without_values(runs, catalogue):
    hurt = runs.add("hurt", end=None)
    runs.compact()
    name = runs.damage_footer(hurt)

    (line,) = csv.DictReader(io.StringIO(exported("comparison.csv", runs, catalogue).decode()))
    (run,) = csv.DictReader(io.StringIO(exported("runs.csv", runs, catalogue).decode()))

    assert name in line["value"]
    assert name in run["status"]
    assert name in json.loads(exported("comparison.json", runs, catalogue))["runs"][0]["problem"]


def test_formulas_in_names_and_values_are_text_in_the_csvs(runs, catalogue):
    emitter = runs.add(EVIL.replace("=", "+"), params={EVIL: EVIL})
    runs.write(emitter.event("notes", notes=EVIL))

    for name in ("comparison.csv", "runs.csv"):
        for line in csv.reader(io.StringIO(exported(name, runs, catalogue).decode())):
            assert not [cell for cell in line if cell.startswith(("=", "+", "@"))]


def test_json_holds_parameters_and_metrics(runs, catalogue):
    runs.add("a", params={"lr": 0.1})
    runs.add("b", params={"lr": math.inf})

    found = json.loads(exported("comparison.json", runs, catalogue))

    assert found["differing_parameters"] == ["lr"]
    assert [run["hyperparameters"]["lr"] for run in found["runs"]] == [0.1, "Infinity"]
    assert found["runs"][0]["metrics"]["loss"]["max"] == 1.0
    assert found["goals"] == {"loss": "min"}

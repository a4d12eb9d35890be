"""Which value of a metric the page shows as best, and what it shows if the direction is unknown."""

import json

import pytest

from neural.tracking.ui.data.comparing import goal_of
from neural.tracking.ui.data.exporting import comparison_json
from tests.unit.ui.conftest import looked


@pytest.fixture
def rows(runs, catalogue):
    emitter = runs.add("a", 0, end=None)
    runs.write(emitter.metrics({"own": 0.5, "val/dice": 0.9}, step=0).end("completed"))
    looked(catalogue)
    return catalogue.rows()


def test_goal_is_told_by_the_name_or_the_user_and_else_not_known():
    assert [goal_of("val/dice"), goal_of("val/loss"), goal_of("own")] == ["max", "min", None]
    assert goal_of("own", "min") == goal_of("val/dice", "min") == "min"


def test_export_names_no_goal_of_a_metric_nobody_knows(runs, rows):
    assert json.loads(comparison_json(runs.base_dir, rows))["goals"] == {"val/dice": "max", "own": None}


@pytest.mark.frameworks
def test_page_shows_no_best_of_a_metric_nobody_knows_and_says_why(rows):
    pytest.importorskip("dash")
    from neural.tracking.ui.views import best, summary
    from neural.tracking.ui.views.run_columns import usual_columns

    columns = usual_columns(rows)
    card = str(best.card(None, "own", [(0, rows[0])], None))
    table = str(summary._metrics(rows[0]))

    assert "m:max:val/dice" in columns
    assert not {"m:min:own", "m:max:own"} & set(columns)
    assert "does not say which way is better: choose minimum or maximum" in card
    assert table.count("does not say which way is better") == 1

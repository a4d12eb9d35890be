"""A run checks all settings when it opens, also those that are used later."""

from pathlib import Path

import pytest

from neural.tracking.api.options import check_group, check_notes, check_tags, run_settings
from neural.tracking.core.config import agent_config
from neural.tracking.errors import ConfigError, InvalidNameError

HERE = Path("no such folder")


def test_backend_may_be_one_name_or_several():
    assert run_settings(True, None, "mlflow", HERE)["backend"] == ["mlflow"]
    assert run_settings(True, None, ["wandb", "mlflow", "wandb"], HERE)["backend"] == ["wandb", "mlflow"]
    assert run_settings(True, None, None, HERE)["backend"] == []


def test_unknown_backend_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown backend 'Tensorbord'.*did you mean 'tensorboard'"):
        run_settings(True, None, "Tensorbord", HERE)


@pytest.mark.parametrize("backend", [3, [None], [["mlflow"]]])
def test_backend_that_is_no_name_is_refused(backend):
    with pytest.raises(TypeError):
        run_settings(True, None, backend, HERE)


@pytest.mark.parametrize("every", [0, -1])
def test_fewer_than_one_step_between_pictures_is_refused(every):
    with pytest.raises(ConfigError, match="at least 1 step"):
        run_settings(True, every, None, HERE)


@pytest.mark.parametrize("every", ["10", 2.5, True])
def test_steps_between_pictures_must_be_a_number(every):
    with pytest.raises(TypeError):
        run_settings(True, every, None, HERE)


def test_auto_visualize_must_be_a_bool():
    with pytest.raises(TypeError, match="auto_visualize"):
        run_settings("yes", None, None, HERE)


def test_tags_are_kept_once_in_order():
    assert check_tags(["b", "a", "b"]) == ["b", "a"]
    assert check_tags("alone") == ["alone"]


@pytest.mark.parametrize("tag", ["", "  ", "a\0b", "x" * 257])
def test_bad_tag_is_refused(tag):
    with pytest.raises(InvalidNameError):
        check_tags([tag])


def test_too_many_tags_are_refused():
    with pytest.raises(ConfigError, match="256"):
        check_tags([str(i) for i in range(257)])


def test_notes_over_the_limit_are_refused():
    with pytest.raises(ConfigError, match="65536 bytes"):
        check_notes("x" * 70_000)


def test_message_names_the_argument_that_is_wrong():
    with pytest.raises(TypeError, match="group must be text, not int"):
        check_group(3)
    with pytest.raises(TypeError, match="backend must be a name or a list of names, not 3"):
        run_settings(True, None, 3, HERE)


def test_unknown_mode_in_the_environment_is_refused_under_the_name_of_its_variable(tmp_path):
    with pytest.raises(ConfigError, match="NTRACK_MODE is 'off'; it must be one of online"):
        agent_config(tmp_path, {"NTRACK_MODE": "off"})

    assert agent_config(tmp_path, {"NTRACK_MODE": "off"}, mode="offline").mode == "offline"

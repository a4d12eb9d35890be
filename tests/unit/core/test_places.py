"""Names, files, state folders and settings: refused as early as possible, or safe."""

import os
import stat

import pytest

from neural.tracking.core.config import AgentConfig, agent_config
from neural.tracking.core.files import atomic_write, inside
from neural.tracking.core.names import check_metric_name, check_run_name
from neural.tracking.errors import ConfigError, InvalidNameError
from neural.tracking.state.paths import State

HOSTILE_RUN_NAMES = [
    "", " ", ".", "..", "../up", "a/b", "a\\b", "/abs", "nul", "NUL.txt", "com1", "lpt¹", "a\0b", "a\nb",
    "a\x7fb", "a\u2028b", "x" * 201, "ü" * 101, "dot.", "space ", ".hidden", "a\uff0fb", "a\uff3cb", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_RUN_NAMES, ids=ascii)
def test_hostile_run_name_is_refused(name):
    with pytest.raises(InvalidNameError):
        check_run_name(name)


@pytest.mark.parametrize("name", ["run", "größe 3", "实验", "🚀", "a.b-c_d", "lr: 0.1 <best>?", "x" * 200])
def test_decent_run_name_is_kept_as_it_is(name):
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["", "a\0b", "a\x1bb", "x" * 257, "ü" * 129, "\ud800"], ids=ascii)
def test_metric_name_nobody_could_read_is_refused(name):
    with pytest.raises(InvalidNameError):
        check_metric_name(name)


@pytest.mark.parametrize("name", ["loss", "train/loss", "../x", "🚀", " ", "$x_1$", "x" * 256])
def test_metric_name_is_only_a_label_so_most_text_will_do(name):
    assert check_metric_name(name) == name


@pytest.mark.parametrize("name", [1, None, b"loss", ("a",)])
def test_name_that_is_no_text_is_a_type_error(name):
    with pytest.raises(TypeError):
        check_metric_name(name)
    with pytest.raises(TypeError):
        check_run_name(name)


def test_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    atomic_write(target, b"old")
    target.unlink()
    target.mkdir()  # rename over a folder fails after the data was written

    with pytest.raises(OSError):
        atomic_write(target, b"new")

    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("part", ["..", "../x", "/etc/passwd", ".", "a/../.."])
def test_path_never_leaves_its_root(tmp_path, part):
    with pytest.raises(InvalidNameError):
        inside(tmp_path / "root", part)


def test_path_through_a_symbolic_link_to_the_outside_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)

    with pytest.raises(InvalidNameError):
        inside(tmp_path / "root", "link", "x")


def test_state_folder_is_private(tmp_path):
    state = State.for_base_dir(tmp_path)
    state.make()

    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700


def test_state_folder_that_is_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".ntrack").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="symbolic link"):
        State.for_base_dir(tmp_path).make()


def test_network_file_system_keeps_state_on_the_local_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NTRACK_FS", "network")

    state = State.for_base_dir(tmp_path)

    assert not state.root.is_relative_to(tmp_path)
    assert state.config_file.is_relative_to(tmp_path)


def test_socket_path_never_exceeds_what_a_socket_can_be_named(tmp_path):
    deep = tmp_path / ("d" * 90) / ("e" * 90)

    state = State.for_base_dir(deep)

    assert len(os.fsencode(state.data_socket)) <= 100
    assert State.for_base_dir(deep).data_socket == state.data_socket


def test_argument_wins_over_environment_wins_over_file(tmp_path):
    (tmp_path / ".ntrack").mkdir()
    (tmp_path / ".ntrack" / "config.toml").write_text('[agent]\nmode = "disabled"\nwhen_full = "block"\n')

    assert agent_config(tmp_path, {}).mode == "disabled"
    assert agent_config(tmp_path, {"NTRACK_MODE": "offline"}).mode == "offline"
    assert agent_config(tmp_path, {"NTRACK_MODE": "offline"}, mode="online").mode == "online"
    assert agent_config(tmp_path, {}).when_full == "block"


def test_unknown_setting_names_the_nearest_right_one(tmp_path):
    (tmp_path / ".ntrack").mkdir()
    (tmp_path / ".ntrack" / "config.toml").write_text("[agent]\noutbox_limit = 1\n")

    with pytest.raises(ConfigError, match="did you mean 'outbox_limit_bytes'"):
        agent_config(tmp_path, {})


def test_section_that_nobody_reads_is_refused_with_the_nearest(tmp_path):
    (tmp_path / ".ntrack").mkdir()
    (tmp_path / ".ntrack" / "config.toml").write_text('[sink.lab]\ntype = "jsonl"\n')

    with pytest.raises(ConfigError, match=r"unknown section \[sink\] in .*config.toml; did you mean 'sinks'"):
        agent_config(tmp_path, {})


@pytest.mark.parametrize(
    "bad", [{"mode": "on"}, {"outbox_limit_bytes": 5}, {"when_full": 1}, {"outbox_limit_bytes": "4 GiB"}]
)
def test_setting_out_of_range_is_refused_where_it_is_made(bad):
    with pytest.raises(ConfigError):
        AgentConfig(**bad)

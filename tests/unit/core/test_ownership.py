"""Folders and settings that others own or may write to are refused; the usual ones are accepted."""

import os
import stat
from types import SimpleNamespace

import pytest

from neural.tracking import ExperimentTracker
from neural.tracking.agent.send import local_route
from neural.tracking.collector.workers.sink_roster import SinkRoster
from neural.tracking.core import os_support, ownership
from neural.tracking.core.config import agent_config, collector_config
from neural.tracking.core.files import write_json
from neural.tracking.errors import CollectorUnreachableError, ConfigError
from neural.tracking.sink_state.config import sink_configs
from neural.tracking.sink_state.config_file import set_sink
from neural.tracking.state import paths as states
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State

SOMEBODY = 23_456
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
PYTHON = '[sinks.jsonl]\ntype = "jsonl"\npython = "/tmp/evil.sh"\n'


def plant(base_dir, text=PYTHON, *, folder=0o700, file=0o600):
    config = base_dir / ".ntrack" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text)
    config.chmod(file)
    config.parent.chmod(folder)
    return config


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Return a folder that everyone may write to, like /var/tmp and /tmp."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    monkeypatch.setattr(states, "_private_root", lambda parent: place / "ntrack-own")
    return place


@pytest.fixture
def network(shared, monkeypatch):
    monkeypatch.setenv("NTRACK_FS", "network")
    return shared / "ntrack-own"


@only_root
@pytest.mark.parametrize("mode", [0o777, 0o755, 0o700])
def test_state_is_not_kept_in_a_folder_that_somebody_else_made_first(network, tmp_path, mode):
    network.mkdir()
    network.chmod(mode)
    os.chown(network, SOMEBODY, SOMEBODY)

    with pytest.raises(ConfigError, match=rf"{network} is another user's folder .*NTRACK_STATE_DIR"):
        ExperimentTracker("mine", tmp_path / "runs")

    assert list(network.iterdir()) == []
    assert not list((tmp_path / "runs").glob("mine_*"))


def test_state_is_not_kept_through_a_link(network, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    network.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="is a symbolic link"):
        State.for_base_dir(tmp_path / "runs").make()

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_folders_made_for_the_state_are_this_users_alone_whatever_the_umask(network, tmp_path):
    (tmp_path / "runs").mkdir()
    before = os.umask(0)
    try:
        state = State.for_base_dir(tmp_path / "runs")
        state.make()
        state.make_socket_folder()
    finally:
        os.umask(before)

    for folder in (network, state.root, state.base_dir / ".ntrack"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_own_folder_that_was_open_to_others_is_closed_before_it_is_used(network, tmp_path):
    network.mkdir()
    network.chmod(0o777)

    State.for_base_dir(tmp_path / "runs").base_dir.mkdir()
    State.for_base_dir(tmp_path / "runs").make()

    assert stat.S_IMODE(network.stat().st_mode) == 0o700


@only_root
def test_socket_folder_of_somebody_else_is_refused(shared, tmp_path):
    deep = tmp_path / ("d" * 90)
    (shared / "ntrack-own").mkdir()
    os.chown(shared / "ntrack-own", SOMEBODY, SOMEBODY)

    with pytest.raises(ConfigError, match=r"another user's folder .* shorter path"):
        ExperimentTracker("mine", deep)


@only_root
def test_nobody_is_connected_to_whose_state_folder_became_somebody_elses(network, tmp_path, caplog):
    state = State.for_base_dir(tmp_path / "runs")
    state.base_dir.mkdir()
    state.make()
    write_json(state.endpoint_file, {"data": "tcp://127.0.0.1:9"})
    with state.lock.open("w") as lock:
        assert os_support.lock_exclusively(lock.fileno())
        route = local_route.LocalRoute(state, launches=True)
        good = route.connect(0.0, data_waits=True)
        assert good is not None
        good.close()

        os.chown(network, SOMEBODY, SOMEBODY)

        assert route.connect(0.0, data_waits=True) is None
    assert route.next_try > 0
    assert f"{network} is another user's folder" in caplog.text


@only_root
def test_collector_of_somebody_else_is_not_asked(network, tmp_path, monkeypatch):
    state = State.for_base_dir(tmp_path / "runs")
    state.base_dir.mkdir()
    state.make()
    state.make_socket_folder()
    state.control_socket.touch()
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)

    with pytest.raises(CollectorUnreachableError, match="another user's folder"):
        request(state, "status", timeout_s=0.1)


def test_state_folder_beneath_one_that_all_may_change_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setenv("NTRACK_STATE_DIR", str(place))

    with pytest.raises(ConfigError, match=f"chmod o-w {place}"):
        State.for_base_dir(tmp_path / "runs").make()
    place.chmod(0o1777)
    (tmp_path / "runs").mkdir()
    State.for_base_dir(tmp_path / "runs").make()


@pytest.mark.parametrize("read", [sink_configs, agent_config, collector_config])
@pytest.mark.parametrize(
    ("folder", "file"), [(0o777, 0o600), (0o700, 0o666), (0o700, 0o602)], ids=["folder", "file", "write only"]
)
def test_settings_that_others_may_write_are_refused_with_what_to_do(tmp_path, read, folder, file):
    config = plant(tmp_path, folder=folder, file=file)

    with pytest.raises(ConfigError, match=rf"may be written to by others: `chmod go-w {tmp_path}"):
        read(tmp_path)

    config.chmod(0o644)
    config.parent.chmod(0o755)
    read(tmp_path)


@only_root
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_settings_that_somebody_planted_are_refused(tmp_path, monkeypatch, whose):
    monkeypatch.setenv("NTRACK_STATE_DIR", str(tmp_path / "state"))
    base_dir = tmp_path / "runs"
    base_dir.mkdir()
    base_dir.chmod(0o777)
    config = plant(base_dir, file=0o644, folder=0o755)
    os.chown(config if whose == "file" else config.parent, SOMEBODY, SOMEBODY)

    with pytest.raises(ConfigError, match=rf"settings are not used: .* belongs to another user .{SOMEBODY}"):
        ExperimentTracker("mine", base_dir, mode="offline")
    assert SinkRoster(State.for_base_dir(base_dir)).config_error is not None
    assert not list(base_dir.glob("mine_*"))


@only_root
def test_settings_of_another_users_own_folder_of_runs_are_his(tmp_path):
    config = plant(tmp_path / "his", '[agent]\nmode = "disabled"\n', file=0o644, folder=0o755)
    for path in (config, config.parent, tmp_path / "his"):
        os.chown(path, SOMEBODY, SOMEBODY)

    assert agent_config(tmp_path / "his", {}).mode == "online"
    assert sink_configs(tmp_path / "his") == {}


@only_root
def test_settings_that_root_made_count(tmp_path, monkeypatch):
    plant(tmp_path, '[agent]\nmode = "offline"\n', file=0o644, folder=0o755)
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)

    assert agent_config(tmp_path, {}).mode == "offline"


@pytest.mark.parametrize(
    ("group", "members", "good"),
    [("me", [], True), ("me", ["me"], True), ("me", ["you"], False), ("ml", [], False)],
)
def test_group_may_write_where_it_is_this_users_alone(tmp_path, monkeypatch, group, members, good):
    import grp
    import pwd

    config = plant(tmp_path, file=0o664, folder=0o775)
    user = SimpleNamespace(pw_gid=config.stat().st_gid, pw_name="me")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members))

    assert (ownership.why_not_trusted(config) is None) == good


def test_settings_that_the_command_line_makes_are_private_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        set_sink(tmp_path, "jsonl", {"type": "jsonl"})
    finally:
        os.umask(before)

    config = tmp_path / ".ntrack" / "config.toml"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config.parent, config)] == [0o700, 0o600]
    assert list(sink_configs(tmp_path)) == ["jsonl"]


def test_running_collector_reads_its_settings_again_once_nobody_else_may_write_them(tmp_path):
    state = State.for_base_dir(tmp_path)
    state.make()
    config = plant(tmp_path, file=0o666)
    roster = SinkRoster(state)
    assert "may be written to by others" in roster.config_error

    config.chmod(0o600)

    assert roster.reload_file()
    assert roster.config_error is None
    assert [spec.name for spec in roster.specs()] == ["store", "visualizer", "jsonl"]

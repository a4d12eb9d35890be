"""Keys as files, texts and lists; addresses of collectors."""

import os
import stat

import pytest

from neural.tracking.core.address import check_address, check_listen, next_port
from neural.tracking.core.config import agent_config
from neural.tracking.errors import ConfigError
from neural.tracking.remote import keys


@pytest.mark.parametrize("address", ["tcp://node-7.cluster:5757", "tcp://10.0.0.1:1", "tcp://[fe80::1]:65535"])
def test_address_of_one_host_is_taken(address):
    assert check_address("collector", address) == address


@pytest.mark.parametrize(
    "address",
    ["host:5757", "tcp://host", "tcp://host:0", "tcp://host:65536", "tcp://0.0.0.0:5757", "tcp://*:5757",
     "ipc:///x", "tcp://a b:1", "tcp://host:5757/x", "tcp://host:5757\n", "", 7, "tcp://h\u00f6st:1"],
)  # fmt: skip
def test_what_names_no_host_is_refused(address):
    with pytest.raises(ConfigError, match="collector is"):
        check_address("collector", address)


def test_local_means_the_collector_of_this_host():
    assert check_address("collector", "local") is None


def test_environment_wins_over_the_file(tmp_path):
    (tmp_path / ".ntrack").mkdir()
    (tmp_path / ".ntrack" / "config.toml").write_text('[agent]\ncollector = "tcp://a:1"\n')

    assert agent_config(tmp_path, {}).collector == "tcp://a:1"
    assert agent_config(tmp_path, {"NTRACK_COLLECTOR": "tcp://b:2"}).collector == "tcp://b:2"
    assert agent_config(tmp_path, {"NTRACK_COLLECTOR": "local"}).collector is None
    with pytest.raises(ConfigError, match="NTRACK_COLLECTOR"):
        agent_config(tmp_path, {"NTRACK_COLLECTOR": "b:2"})


def test_artifacts_come_to_the_next_port():
    assert next_port(check_listen("listen", "tcp://0.0.0.0:5757")) == "tcp://0.0.0.0:5758"
    assert next_port("tcp://[::]:0") == "tcp://[::]:0"


def test_pair_comes_back_from_its_private_file(tmp_path):
    pair = keys.Pair.make()
    path = tmp_path / "keys" / "client.secret"

    keys.write_pair(path, pair)

    assert (keys.read_pair(path).public, keys.read_pair(path).secret) == (pair.public, pair.secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        keys.write_pair(path, keys.Pair.make())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_secret_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "client.secret"
    keys.write_pair(path, keys.Pair.make())
    path.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 600"):
        keys.read_pair(path)


@pytest.mark.parametrize("content", ["", "sec-", "pub-" + "0" * 64, "sec-" + "g" * 64, "\xff" * 100])
def test_file_without_a_secret_is_refused_and_not_quoted(tmp_path, content):
    path = tmp_path / "client.secret"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError) as refused:
        keys.read_pair(path)

    assert len(content) < 10 or content not in str(refused.value)


def test_secret_given_for_a_public_key_is_refused_and_not_repeated():
    text = f"sec-{os.urandom(32).hex()}"

    with pytest.raises(ConfigError, match="secret key") as refused:
        keys.parse_public(text)

    assert text not in str(refused.value)


def test_list_comes_back_with_remarks_left_out(tmp_path):
    path = tmp_path / "keys" / "allowed"
    keys.write_list(path, {"alice": b"a" * 32, "bob": b"b" * 32})
    path.write_text("# who may\n\n" + path.read_text())

    assert keys.read_list(path) == {"alice": b"a" * 32, "bob": b"b" * 32}
    assert keys.read_list(tmp_path / "absent") == {}


@pytest.mark.parametrize("line", ["alice", "alice pub-0", "alice pub-" + "0" * 64 + " more", "sec-" + "0" * 64])
def test_list_with_a_line_that_is_none_is_refused_as_a_whole(tmp_path, line):
    path = tmp_path / "allowed"
    path.write_text(f"bob {keys.public_text(b'b' * 32)}\n{line}\n")

    with pytest.raises(ConfigError, match="line 2"):
        keys.read_list(path)


@pytest.mark.parametrize("name", ["", "a b", "-x", "a\n", "x" * 65, "a/b", "é"])
def test_name_that_could_not_stand_in_a_list_is_refused(name):
    with pytest.raises(ConfigError):
        keys.check_name(name)

"""`ntrack keys`: the steps of docs/remote.md in their order, and the errors of each step."""

import json

import pytest
from click.testing import CliRunner

from neural.tracking.cli import main


@pytest.fixture
def ntrack(tmp_path, monkeypatch):
    monkeypatch.setenv("NTRACK_KEYS", str(tmp_path / "user"))
    monkeypatch.setenv("NTRACK_DIR", str(tmp_path / "runs"))

    def run(*arguments, code=0):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == code, done.output
        return done

    return run


def test_steps_of_the_guide_make_allow_trust_list_and_revoke(ntrack):
    collector = ntrack("keys", "collector").stdout.strip()
    client = ntrack("keys", "client").stdout.strip()
    ntrack("keys", "trust", "tcp://collector-host:5757", collector)
    ntrack("keys", "allow", "alice", client)

    listed = json.loads(ntrack("keys", "ls", "--json").stdout)
    assert listed["collector"] == collector
    assert listed["client"] == client
    assert listed["allowed"] == {"alice": client}
    assert listed["trusted"] == {"collector-host:5757": collector}
    ntrack("keys", "revoke", "alice")
    assert json.loads(ntrack("keys", "ls", "--json").stdout)["allowed"] == {}


def test_key_is_made_once_and_anew_only_on_request(ntrack):
    first = ntrack("keys", "client").stdout

    assert ntrack("keys", "client").stdout == first
    assert ntrack("keys", "client", "--renew").stdout != first


def test_name_and_key_stay_unambiguous(ntrack):
    key, other = ntrack("keys", "client").stdout.strip(), ntrack("keys", "collector").stdout.strip()
    ntrack("keys", "allow", "alice", key)

    ntrack("keys", "allow", "alice", key)
    assert "already, as alice" in ntrack("keys", "allow", "bob", key, code=1).output
    assert "another key has the name alice" in ntrack("keys", "allow", "alice", other, code=1).output
    assert "no key is allowed as carol" in ntrack("keys", "revoke", "carol", code=1).output


def test_secret_key_on_a_command_line_is_refused(ntrack):
    secret = f"sec-{'7' * 64}"

    for command in (("allow", "alice"), ("trust", "tcp://host:1")):
        told = ntrack("keys", *command, secret, code=1).output
        assert "--renew" in told
        assert secret not in told

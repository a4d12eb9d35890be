"""Which requests the page answers."""

import os

import pytest

from neural.tracking.errors import ConfigError
from neural.tracking.ui.guard import Guard, find_token, is_local

TOKEN = "a long enough secret"
HERE = {"Host": "127.0.0.1:8052"}


def refused(guard, method="GET", path="/_dash-layout", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = guard.refusal(method, path, {**HERE, **named})
    return None if found is None else found.status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_other_hosts_get_in_only_with_a_token(host):
    with pytest.raises(ConfigError, match=r"everyone who can reach .*NTRACK_UI_TOKEN"):
        Guard(host)

    assert not Guard(host, TOKEN).local


def test_short_token_is_refused():
    with pytest.raises(ConfigError, match="at least 16"):
        Guard("0.0.0.0", "short")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_computer_alone_needs_no_token(host):
    assert is_local(host)
    assert not Guard(host).needs_token(None)


@pytest.mark.parametrize("host", ["127.0.0.1:8052", "localhost:8052", "[::1]:8052", "LOCALHOST", "localhost"])
def test_our_own_names_are_answered(host):
    assert refused(Guard("127.0.0.1"), Host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example:8052", "evil.example", "127.0.0.1.evil.example", "", "192.168.1.4"]
)
def test_another_name_for_this_page_is_refused(host):
    assert refused(Guard("127.0.0.1"), Host=host) == 421


def test_page_for_other_hosts_goes_by_addresses_but_by_no_strange_name():
    guard = Guard("0.0.0.0", TOKEN)

    assert refused(guard, Host="192.168.1.4:8052") is None
    assert refused(guard, Host="evil.example:8052") == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_request_from_another_site_is_refused(site):
    guard = Guard("127.0.0.1")

    assert refused(guard, Sec_Fetch_Site=site) == 403
    assert refused(guard, path="/export/runs.csv", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate") == 403
    assert refused(guard, "POST", "/_dash-update-component", Sec_Fetch_Site=site) == 403


def test_link_to_the_page_on_another_site_works():
    guard = Guard("127.0.0.1")

    assert refused(guard, path="/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") is None
    assert refused(guard, path="/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403


def test_foreign_origin_is_refused_also_by_browsers_that_tell_no_site():
    guard = Guard("127.0.0.1")

    assert refused(guard, "POST", Origin="http://evil.example") == 403
    assert refused(guard, "POST", Origin="null") == 403
    assert refused(guard, "POST", Origin="http://127.0.0.1:9999") == 403
    assert refused(guard, "POST", Origin="http://127.0.0.1:8052") is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_page_cannot_be_written_to(method):
    assert refused(Guard("127.0.0.1"), method) == 405


def test_cookie_is_not_the_token_and_only_it_opens():
    guard = Guard("0.0.0.0", TOKEN)

    assert TOKEN not in guard.cookie
    assert not guard.needs_token(guard.cookie)
    assert guard.needs_token(None)
    assert guard.needs_token(TOKEN)
    assert guard.needs_token(Guard("0.0.0.0", TOKEN + "!").cookie)


def test_token_is_known_when_it_is_told():
    guard = Guard("0.0.0.0", TOKEN)

    assert guard.is_token(f" {TOKEN}\n")
    assert not guard.is_token("another long secret")


def test_token_comes_from_a_private_file_only(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        find_token(path)

    path.chmod(0o600)
    assert find_token(path) == TOKEN


def test_token_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("NTRACK_UI_TOKEN", TOKEN)
    assert find_token() == TOKEN

    monkeypatch.delenv("NTRACK_UI_TOKEN")
    assert find_token() is None
    assert os.environ.get("NTRACK_UI_TOKEN") is None

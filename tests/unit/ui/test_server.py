"""Starting the page: ports, addresses, and the errors if it cannot start."""

import socket

import pytest

from neural.tracking.errors import ConfigError, PortTakenError
from neural.tracking.ui.server import address_of, listen, serve


def test_taken_port_is_told_with_one_that_is_free():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is taken.*--port") as caught:
            listen("127.0.0.1", port)

    assert caught.value.next_free > port
    with listen("127.0.0.1", caught.value.next_free):
        pass


def test_host_that_is_none_of_this_computer_is_told():
    with pytest.raises(ConfigError, match="not an address of this computer"):
        listen("no-such-host.invalid", 0)


def test_other_host_without_a_token_is_refused_before_anything_listens(tmp_path, monkeypatch):
    monkeypatch.delenv("NTRACK_UI_TOKEN", raising=False)
    monkeypatch.setattr(socket, "socket", None)

    with pytest.raises(ConfigError, match="NTRACK_UI_TOKEN"):
        serve(tmp_path, 0, host="0.0.0.0")


def test_address_is_one_a_browser_takes():
    assert address_of("127.0.0.1", 8052) == "http://127.0.0.1:8052/"
    assert address_of("::1", 8052) == "http://[::1]:8052/"

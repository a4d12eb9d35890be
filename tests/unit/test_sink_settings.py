"""Wrong settings of sinks are refused before any delivery."""

from pathlib import Path

import pytest

from neural.tracking import ConfigError
from neural.tracking.sink_state.config import SinkConfig
from neural.tracking.sinks.base import SinkPlace
from neural.tracking.sinks.registry import make_sink


def made(kind, **options):
    return make_sink(SinkConfig("lab", kind, options=options), SinkPlace("lab", Path("runs"), "0123abcd"))


def test_value_outside_its_choices_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"mode in \[sinks.lab\].*'offlin'; did you mean 'offline'"):
        made("wandb", mode="offlin")


def test_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match=r"tracking_uri .* holds a password") as raised:
        made("mlflow", tracking_uri="http://user:canary@127.0.0.1:5000/")

    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:5000", "http://user@lab:5000", "sqlite:////a:b@c.db"])
def test_address_without_a_password_is_taken(address):
    assert made("mlflow", tracking_uri=address).type == "mlflow"

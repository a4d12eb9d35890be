"""The metadata of a run's process."""

import sys

import pytest

from neural.tracking.api.environment import gather_metadata


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key=hunter2"],
        ["--token", "hunter2"],
        ["db.password=hunter2"],
        ["--hf_token=hunter2", "--lr", "0.1"],
        ["AWS_SECRET_ACCESS_KEY=hunter2"],
        ["https://me:hunter2@host/data"],
    ],
)
def test_secrets_on_the_command_line_are_not_kept(monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", *words])

    command = gather_metadata()["command"]

    assert "hunter2" not in command
    assert command.startswith("python train.py")


def test_command_line_without_secrets_is_kept_as_it_is(monkeypatch):
    words = ["python", "train.py", "--max-tokens", "100", "--tokenizer=bert", "--lr=0.1", "--key", "loss"]
    monkeypatch.setattr(sys, "orig_argv", words)

    assert gather_metadata()["command"] == " ".join(words)

"""The TensorBoard sink: its files, read by TensorBoard's own reader and server."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import SinkContract, event, every_kind, metrics, status
from neural.tracking.sinks.tensorboard_sink import TensorBoardSink
from tests.ports import free_port

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1800)]
pytest.importorskip("tensorboard")


class TestTensorBoard(SinkContract):
    def make_sink(self, place):
        return TensorBoardSink(place)

    def kept_value(self, value):
        return float(np.float32(value))

    def points(self, sink, run):
        # The tag is the logged name: TensorBoard allows every name.
        return sink.points(run)


def delivered(folder, *events):
    run = RunInfo("ab" * 16, "shown", folder / "shown_abababab", 10**18)
    sink = TensorBoardSink(SinkPlace("tensorboard", folder, "0123abcd"))
    sink.open()
    sink.write([e._replace(run=run) for e in events])
    sink.flush()
    return run


def test_accumulator_finds_texts_parameters_and_the_end(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    delivered(tmp_path, *every_kind(), status("failed", error="ValueError: nan"))

    reader = EventAccumulator(str(tmp_path / "tensorboard" / "shown_abababab"))
    reader.Reload()
    tags = set(reader.Tags()["tensors"])
    assert {"sample/one", "run/hyperparameters", "run/about", "run/status"} <= tags
    assert reader.Tensors("sample/one")[0].tensor_proto.string_val == [b"hello\nworld"]
    assert reader.Tensors("sample/one")[0].step == 4
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= tags


def shown_parameters(folder):
    """Return the values for the HPARAMS page, in the order of writing."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    (path,) = (folder / "tensorboard" / "shown_abababab").glob("events*")
    for found in EventFileLoader(str(path)).Load():
        for value in found.summary.value:
            if value.tag == "_hparams_/session_start_info":
                yield set(parse_session_start_info_plugin_data(value.metadata.plugin_data.content).hparams)


def part(seq, which, **values):
    return event(seq, "params", {"values": values, "as_text": [], "part": which})


def test_parameters_in_parts_are_shown_once_together(tmp_path):
    delivered(tmp_path, part(1, [1, 2], net={"depth": 2}), part(2, [2, 2], net={"width": 3}, lr=0.1))

    assert list(shown_parameters(tmp_path)) == [{"net/depth", "net/width", "lr"}]


def test_parameters_whose_last_part_was_lost_are_shown_at_the_end(tmp_path):
    delivered(tmp_path, part(1, [1, 2], net={"depth": 2}), status("completed"))

    assert list(shown_parameters(tmp_path)) == [{"net/depth"}]


def test_value_that_is_flipped_by_nothing_keeps_its_own_time(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    delivered(tmp_path, metrics(7, step=3, loss=0.25))

    reader = EventAccumulator(str(tmp_path / "tensorboard" / "shown_abababab"))
    reader.Reload()
    (point,) = reader.Scalars("loss")
    assert point.wall_time == pytest.approx(1_700_000_000 + 0.07, abs=1e-5)


@pytest.fixture
def server(tmp_path):
    port = free_port()
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    log = (tmp_path / "server.log").open("wb")
    options = ["--host", "127.0.0.1", "--reload_interval", "1", "--load_fast=false"]
    process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(120)
    log.close()


def answer(url, ready, timeout_s=900):
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                found = json.loads(reply.read())
                if ready(found):
                    return found
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        assert time.monotonic() < deadline, url
        time.sleep(0.2)


def test_real_server_answers_its_scalars_route_with_what_was_logged(tmp_path, server):
    calls = [metrics(n, step=n, loss=n / 4) for n in range(1, 101)]
    second = [metrics(1, step=1, session="1" * 32, rank=1, loss=9.0)]
    delivered(tmp_path, *calls, *second, event(101, "text", {"name": "t", "text": "hi"}, step=1))

    base = f"{server}/data/plugin/scalars/scalars?tag=loss&run="
    first = answer(base + "shown_abababab", lambda found: len(found) == 100)
    other = answer(base + "shown_abababab/rank_1", lambda found: len(found) == 1)

    assert [(step, value) for _, step, value in first] == [(n, n / 4) for n in range(1, 101)]
    assert [(step, value) for _, step, value in other] == [(1, 9.0)]


def test_folder_that_was_removed_is_written_anew_by_a_replay(tmp_path):
    run = delivered(tmp_path, metrics(1, step=1, loss=0.5))
    shutil.rmtree(tmp_path / "tensorboard")

    again = delivered(tmp_path, metrics(1, step=1, loss=0.5))

    assert run.label == again.label

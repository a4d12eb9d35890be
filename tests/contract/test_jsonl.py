"""The JSONL sink keeps the contract of every sink, and writes plain lines."""

import json

from neural.tracking.sinks.base import RunInfo, SinkPlace
from neural.tracking.sinks.contract import SinkContract, every_kind, metrics
from neural.tracking.sinks.jsonl_sink import JsonlSink


class TestJsonl(SinkContract):
    def make_sink(self, place):
        return JsonlSink(place)

    def test_line_torn_by_a_crash_is_cut_off(self, tmp_path):
        run, sink = opened(tmp_path)
        sink.write([metrics(1, step=1, loss=0.5)._replace(run=run)])
        sink.flush()
        (file,) = (tmp_path / "jsonl").iterdir()
        with file.open("ab") as torn:
            torn.write(b'{"run": "ab')

        again = JsonlSink(SinkPlace("jsonl", tmp_path, "0123abcd"))
        again.open()
        again.write([metrics(2, step=2, loss=1.5)._replace(run=run)])
        again.flush()

        assert [json.loads(line)["seq"] for line in file.read_text().splitlines()] == [1, 2]

    def test_every_event_is_a_line(self, tmp_path):
        run, sink = opened(tmp_path)

        sink.write([event._replace(run=run) for event in every_kind()])
        sink.flush()

        (file,) = (tmp_path / "jsonl").iterdir()
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["kind"] for line in lines] == [event.kind for event in every_kind()]


def opened(folder):
    sink = JsonlSink(SinkPlace("jsonl", folder, "0123abcd"))
    sink.open()
    return RunInfo("ab" * 16, "contract", folder / "contract_abababab"), sink

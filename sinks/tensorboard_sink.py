"""Writes TensorBoard's event files: ``<folder>/<name>_<id>/``, other ranks in ``rank_<k>/`` below it.

So TensorBoard shows a metric's curves of all ranks in one chart, like those of several runs. Each run and rank
has one file, written by the tensorboard package's own record writer. A flush notes the length of the file;
after a crash the file is cut to this length.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from neural.tracking.params.plain import flat_params
from neural.tracking.sinks import truncating_file
from neural.tracking.sinks.base import Option, RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.mapping import png_size

_STATUS = {"completed": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}


class TensorBoardSink:
    """Delivers to a folder for ``tensorboard --logdir``. Values become float32, which TensorBoard stores."""

    type: ClassVar[str] = "tensorboard"
    options: ClassVar[Mapping[str, Option]] = {
        "folder": Option(str, "", "the folder for tensorboard --logdir; default <base_dir>/tensorboard"),
    }
    delivery: ClassVar[Literal["exactly once", "at least once"]] = "exactly once"
    batch_events: ClassVar[int] = 1000
    flush_every_s: ClassVar[float] = 1.0

    def __init__(self, place: SinkPlace, *, folder: str = "") -> None:
        self._place = place
        self._folder = Path(folder).expanduser() if folder else place.base_dir / "tensorboard"
        self._sizes: dict[tuple[str, int], int] = {}  # by run and rank: the valid length of the file
        self._dirty: dict[tuple[str, int], RunInfo] = {}
        self._translate: _Translator | None = None

    def open(self) -> None:
        """Import the tensorboard package and create the folder; raises RetryLater if it cannot be created."""
        self._translate = _Translator()
        truncating_file.make_folder(self._folder)

    def write(self, events: Sequence[RunEvent]) -> None:
        """Append the events to the files of their runs; raises RetryLater if one cannot be written."""
        assert self._translate is not None
        by_file: dict[tuple[RunInfo, int], list[bytes]] = defaultdict(list)
        for event in events:
            record = self._translate.event(event)
            if record is not None:
                by_file[event.run, event.rank].append(record)
        # All records of the batch count, or none: the sizes change only after every file is written.
        sizes: dict[tuple[str, int], int] = {}
        for (run, rank), records in by_file.items():
            start = self._sizes.get((run.uid, rank), int(run.memory.get("bytes", {}).get(str(rank), 0)))
            path = self._path(run, rank)
            if not start:
                truncating_file.make_folder(path.parent)
                records = [self._translate.head(run), *records]
            data = self._translate.framed(records)
            sizes[run.uid, rank] = truncating_file.append_at(path, start, data)
        self._sizes.update(sizes)
        self._dirty.update(((run.uid, rank), run) for run, rank in by_file)

    def flush(self) -> None:
        """Sync the files that changed, and note their lengths. Blocks on the disk; raises RetryLater."""
        for (uid, rank), run in self._dirty.items():
            truncating_file.sync(self._path(run, rank))
            run.memory.setdefault("bytes", {})[str(rank)] = self._sizes[uid, rank]
            run.link = str(self._folder / run.label)
        self._dirty.clear()

    def close(self) -> None:
        """Forget the lengths of the files. Never blocks; no file is open between calls."""
        self._sizes.clear()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]]:
        """Return (metric, step, value) of all points that TensorBoard's reader finds in the run's folder."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = []
        folder = self._folder / run.label
        for place in (folder, *sorted(folder.glob("rank_*"))):
            reader = EventAccumulator(str(place), size_guidance={"scalars": 0})
            reader.Reload()
            prefix = f"{place.name}/" if place != folder else ""
            for tag in reader.Tags()["scalars"]:
                found += [(prefix + tag, point.step, float(point.value)) for point in reader.Scalars(tag)]
        return found

    def _path(self, run: RunInfo, rank: int) -> Path:
        folder = self._folder / run.label / (f"rank_{rank}" if rank else "")
        seconds = run.opened_ns // 10**9
        return folder / f"events.out.tfevents.{seconds:010d}.{run.id}.{self._place.writer}"


class _Translator:
    """Turns our events into TensorBoard's. Only its constructor imports the package for that."""

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._value = summary_pb2.Summary.Value
        self._writer, self._text = RecordWriter, text_pb
        self._hparams = summary_v2.hparams_pb
        self._hparams_meta, self._hparams_data, self._hparams_api = metadata, plugin_data_pb2, api_pb2

    def head(self, run: RunInfo) -> bytes:
        """Return the first record of an event file."""
        made: bytes = self._event(
            wall_time=run.opened_ns / 1e9, file_version="brain.Event:2"
        ).SerializeToString()
        return made

    def framed(self, records: Sequence[bytes]) -> bytes:
        """Return the records in the format of an event file."""
        buffer = io.BytesIO()
        writer = self._writer(buffer)
        for record in records:
            writer.write(record)
        return buffer.getvalue()

    def event(self, event: RunEvent) -> bytes | None:
        """Return TensorBoard's event; None for an event that it cannot show."""
        summary = self._summary_of(event)
        if summary is None:
            return None
        made: bytes = self._event(
            wall_time=event.time_ns / 1e9, step=event.step or 0, summary=summary
        ).SerializeToString()
        return made

    def _summary_of(self, event: RunEvent) -> Any:
        data = event.data
        if event.kind == "metrics":
            value = self._value
            return self._summary(value=[value(tag=name, simple_value=v) for name, v in data.items()])
        if event.kind == "text":
            return self._text(data["name"], data["text"])
        if event.kind == "params":
            return self._params(event)
        if event.kind == "notes" and data.get("notes"):
            return self._text("run/notes", data["notes"])
        if event.kind == "open":
            shown = {key: data[key] for key in ("tags", "notes", "group") if data.get(key)}
            return self._text("run/about", _table(shown)) if shown else None
        if event.kind == "tags":
            return self._text("run/tags", ", ".join(data["add"]))
        if event.kind == "artifact":
            return self._artifact(event)
        if event.kind == "status" and data["ended"]:
            ended = self._ended(data, event.time_ns)
            if event.run.memory.pop("params_open", False):  # the last part was lost
                ended.value.extend(self._shown_params(event.run).value)
            return ended
        return None

    def _params(self, event: RunEvent) -> Any:
        """Return all parameters at the last part of a call, else None: HPARAMS only shows the first event."""
        event.run.memory.setdefault("params", {}).update(flat_params(event.data["values"], "/"))
        part = event.data.get("part") or (1, 1)
        if part[0] < part[1]:
            event.run.memory["params_open"] = True
            return None
        event.run.memory.pop("params_open", None)
        return self._shown_params(event.run)

    def _shown_params(self, run: RunInfo) -> Any:
        """Return all parameters for the HPARAMS page, and as a table."""
        memory = run.memory["params"]
        plain = {
            name: v if isinstance(v, bool | int | float | str) else json.dumps(v) for name, v in memory.items()
        }
        summary = self._hparams(plain, trial_id=run.label, start_time_secs=run.opened_ns / 1e9)
        summary.value.extend(self._text("run/hyperparameters", _table(plain)).value)
        return summary

    def _artifact(self, event: RunEvent) -> Any:
        """Return a figure as an image; any other artifact, which TensorBoard cannot hold, as a description."""
        data = event.data
        size = png_size(Path(data["path"])) if data["type"] == "figure" else None
        if size is not None:
            image = self._summary.Image(
                width=size[0],
                height=size[1],
                colorspace=4,
                encoded_image_string=Path(data["path"]).read_bytes(),
            )
            return self._summary(value=[self._value(tag=data["name"], image=image)])
        description = {
            key: data[key] for key in ("version", "size", "checksum", "path", "uri") if data[key] is not None
        }
        return self._text(f"artifacts/{data['name']}", _table(description))

    def _ended(self, data: Mapping[str, Any], time_ns: int) -> Any:
        """Return the status of an ended run, for the HPARAMS page and as a text."""
        status = self._hparams_api.Status.Value(_STATUS.get(data["status"], "STATUS_UNKNOWN"))
        end = self._hparams_data.SessionEndInfo(status=status, end_time_secs=time_ns / 1e9)
        meta = self._hparams_meta.create_summary_metadata(
            self._hparams_data.HParamsPluginData(session_end_info=end)
        )
        summary = self._text("run/status", data["error"] or data["status"])
        summary.value.add(
            tag=self._hparams_meta.SESSION_END_INFO_TAG, metadata=meta, tensor=self._hparams_meta.NULL_TENSOR
        )
        return summary


def _table(values: Mapping[str, Any]) -> str:
    """Return a table in Markdown, for TensorBoard's text page."""
    rows = "\n".join(f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in values.items())
    return f"| name | value |\n|---|---|\n{rows}"

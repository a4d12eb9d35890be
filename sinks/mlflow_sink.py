"""Delivers to an MLflow tracking server or store: experiment = the run's name, run = ``<name>_<id>``.

The tag ``ntrack.uid`` identifies a run. Metrics are sent in batches of up to 1,000, with the event's own step
and time. MLflow's key of a point is (metric, time in ms, step, value), so a point that is sent again counts
once; so do equal values at one step within a millisecond. Other ranks' metrics are ``rank_<k>/<metric>``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neural.tracking.errors import HoldRun, RefusedForGood, RetryLater
from neural.tracking.params.plain import flat_params
from neural.tracking.sink_state.config import without_credentials
from neural.tracking.sinks.base import Option, RunEvent, RunInfo, SinkPlace
from neural.tracking.sinks.mapping import allowed_name, cut_text, rank_prefix
from neural.tracking.sinks.mlflow_address import MlflowAddress, address_of

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

BATCH_METRICS = 1000
BATCH_PARAMS = 100
BATCH_BYTES = 800_000  # MLflow's limit of a request is a million
MAX_NAME, MAX_PARAM, MAX_TAG = 250, 6000, 8000
UID_TAG = "ntrack.uid"
DENIED_AFTER_S = 60.0
HELD_S = 60.0
AGAIN_S = 10.0  # the pause before the next try at a failing server that only a run names

_FORBIDDEN = re.compile(r"[^/\w.\- :]")
_REFUSED = frozenset(("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS"))
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_DENIED = frozenset(("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"))


class MlflowSink:
    """Delivers through ``MlflowClient``. MLflow's own environment variables hold the credentials."""

    type: ClassVar[str] = "mlflow"
    options: ClassVar[Mapping[str, Option]] = {
        "tracking_uri": Option(
            str, "", "default: the run's or the collector's MLFLOW_TRACKING_URI, else sqlite in base_dir"
        ),
        "experiment": Option(str, "", "default: the run's MLFLOW_EXPERIMENT_NAME, else the run's name"),
        "request_timeout_s": Option(int, 30, "how many seconds one request may take"),
    }
    delivery: ClassVar[Literal["exactly once", "at least once"]] = "exactly once"
    batch_events: ClassVar[int] = 1000
    flush_every_s: ClassVar[float] = 1.0

    def __init__(
        self, place: SinkPlace, *, tracking_uri: str = "", experiment: str = "", request_timeout_s: int = 30
    ) -> None:
        self._place = place
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._request_timeout_s = request_timeout_s
        self._addresses: dict[str, MlflowAddress] = {}
        self._clients: dict[str, MlflowClient] = {}
        self._runs: dict[str, str] = {}  # from our uid to MLflow's run id, once the run is known to exist

    def _address(self, run: RunInfo) -> MlflowAddress:
        # Kept, because it is also needed while `credentials` hides this process's environment.
        if run.uid not in self._addresses:
            self._addresses[run.uid] = address_of(self._tracking_uri, run.env, self._place.base_dir)
        return self._addresses[run.uid]

    def open(self) -> None:
        """Import MLflow, with the sink's timeout; it does not connect yet. Raises ModuleNotFoundError."""
        # The worker retries and reports each failure, which retries by MLflow would delay.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(self._request_timeout_s))
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would go to the log
        import mlflow.tracking  # noqa: F401 - fails here if it is not installed

    def write(self, events: Sequence[RunEvent]) -> None:
        """Send the events and wait for the server's answers; raises RetryLater, RefusedForGood or HoldRun."""
        start = 0
        for end in range(1, len(events) + 1):
            # Consecutive events of one run and one kind: metrics are sent in bulk, the others one by one.
            if end == len(events) or _place(events[end]) != _place(events[start]):
                self._deliver(events[start:end])
                start = end

    def flush(self) -> None:
        """Do nothing: every write has waited for the server's answer."""

    def close(self) -> None:
        """Drop the clients. Never blocks."""
        self._clients.clear()

    def points(self, run: RunInfo) -> list[tuple[str, int, float]]:
        """Return (metric, step, value) of all points of the run on the server; raises MLflow's own errors."""
        with self._address(run).credentials():
            client, run_id = self._client(run), self._run_id(run)
            names = client.get_run(run_id).data.metrics
            return [(n, m.step, m.value) for n in names for m in client.get_metric_history(run_id, n)]

    def _deliver(self, events: Sequence[RunEvent]) -> None:
        run, address = events[0].run, self._address(events[0].run)
        try:
            with address.credentials():
                self._send(events)
        except RetryLater as error:
            if address.is_own:
                raise
            # Only this run names the server. The server may need credentials without saying so.
            raise HoldRun(
                run.uid, f"{error}; {address.needs_naming}", after_s=error.after_s or AGAIN_S
            ) from error

    def _send(self, events: Sequence[RunEvent]) -> None:
        run = events[0].run
        with _translated_errors():
            client, run_id = self._client(run), self._run_id(run)
        with _translated_errors(lambda: self._check_exists(client, run)):
            if events[0].kind == "metrics":
                for batch in _metric_batches(events):
                    client.log_batch(run_id, metrics=batch, synchronous=True)
                return
            if events[0].kind in ("text", "artifact") and not self._address(run).is_own:
                self._address(run).check_artifacts(client.get_run(run_id).info.artifact_uri)
            for event in events:
                self._send_one(client, run_id, event)

    def _send_one(self, client: MlflowClient, run_id: str, event: RunEvent) -> None:
        data = event.data
        if event.kind == "params":
            _log_params(client, run_id, flat_params(data["values"], "/"))
        elif event.kind == "text":
            name = allowed_name(rank_prefix(event.rank) + data["name"], _FORBIDDEN, 200)
            client.log_text(run_id, data["text"], f"text/{name}/step_{event.step or 0}_{event.seq}.txt")
        elif event.kind == "open":
            tags = {"ntrack.group": data.get("group"), "mlflow.note.content": data.get("notes")}
            _set_tags(client, run_id, {**_tags(data.get("tags")), **tags})
        elif event.kind == "tags":
            _set_tags(client, run_id, _tags(data["add"]))
        elif event.kind == "notes":
            _set_tags(client, run_id, {"mlflow.note.content": data["notes"] or ""})
        elif event.kind == "metadata" and event.rank == 0:
            _set_tags(client, run_id, _source_tags(data.get("values") or {}))
        elif event.kind == "artifact":
            _log_artifact(client, run_id, event)
        elif event.kind == "status":
            _set_status(client, run_id, event)

    def _check_exists(self, client: MlflowClient, run: RunInfo) -> None:
        """Raise HoldRun if the run was deleted in MLflow, which then refuses all events of the run."""
        from mlflow.exceptions import MlflowException

        try:
            stage = client.get_run(self._run_id(run)).info.lifecycle_stage
        except MlflowException as error:
            stage = "purged" if error.error_code == _ABSENT else "active"
        if stage != "active":
            del self._runs[run.uid]
            remedy = "restore it there" if stage == "deleted" else "it cannot be restored"
            raise HoldRun(run.uid, f"it is {stage} in MLflow; {remedy}", after_s=HELD_S)

    def _client(self, run: RunInfo) -> MlflowClient:
        from mlflow.tracking import MlflowClient

        uri = self._address(run).uri
        if uri not in self._clients:
            self._clients[uri] = MlflowClient(tracking_uri=uri)
        return self._clients[uri]

    def _run_id(self, run: RunInfo) -> str:
        """Return MLflow's id of the run; create the run if it does not exist."""
        if run.uid in self._runs:
            return self._runs[run.uid]
        client = self._client(run)
        run_id = run.memory.get("run_id")
        experiment_id = self._experiment_id(client, run)
        if run_id is None:
            found = client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{run.uid}'", max_results=1)
            if found:
                run_id = found[0].info.run_id
            else:
                tags = {UID_TAG: run.uid, "ntrack.folder": str(run.folder)}
                made = client.create_run(experiment_id, run.opened_ns // 10**6, tags, run_name=run.label)
                run_id = made.info.run_id
        run.memory["run_id"] = self._runs[run.uid] = run_id
        uri = self._address(run).shown
        is_web = uri.startswith(("http://", "https://"))
        run.link = (
            f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
            if is_web
            else f"{uri} run {run_id}"
        )
        return str(run_id)

    def _experiment_id(self, client: MlflowClient, run: RunInfo) -> str:
        name = self._experiment or run.env.get("MLFLOW_EXPERIMENT_NAME") or run.name
        found = client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                raise HoldRun(
                    run.uid, f"experiment {name!r} is deleted in MLflow; restore it there", after_s=HELD_S
                )
            return str(found.experiment_id)
        # Without a server, MLflow would put artifacts into the current folder, here that of the worker.
        uri = self._address(run).uri
        location = f"{self._place.base_dir / 'mlflow-artifacts'}" if uri.startswith("sqlite") else None
        return str(client.create_experiment(name, artifact_location=location))


def _place(event: RunEvent) -> tuple[str, str]:
    return event.run.uid, event.kind


def _metric_batches(events: Sequence[RunEvent]) -> Iterator[list[Any]]:
    from mlflow.entities import Metric

    batch: list[Any] = []
    size = 0
    names: dict[tuple[int, str], str] = {}
    for event in events:
        time_ms, step = event.time_ns // 10**6, event.step or 0
        for name, value in event.data.items():
            key = names.get((event.rank, name))
            if key is None:
                key = allowed_name(rank_prefix(event.rank) + name, _FORBIDDEN, MAX_NAME)
                names[event.rank, name] = key
            size += 100 + 4 * len(key)
            if len(batch) == BATCH_METRICS or size > BATCH_BYTES:
                yield batch
                batch, size = [], 100 + 4 * len(key)
            batch.append(Metric(key, value, time_ms, step))
    if batch:
        yield batch


def _log_params(client: MlflowClient, run_id: str, values: Mapping[str, Any]) -> None:
    """Log parameters; raise RefusedForGood for those that MLflow refuses, after the others are logged."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    params = [
        Param(allowed_name(name, _FORBIDDEN, MAX_NAME), cut_text(_as_text(v), MAX_PARAM))
        for name, v in values.items()
    ]
    refused = []
    for start in range(0, len(params), BATCH_PARAMS):
        batch = params[start : start + BATCH_PARAMS]
        try:
            client.log_batch(run_id, params=batch, synchronous=True)
        except MlflowException as error:
            if error.error_code not in _REFUSED:
                raise
            for param in batch:
                try:
                    client.log_batch(run_id, params=[param], synchronous=True)
                except MlflowException as single:
                    if single.error_code not in _REFUSED:
                        raise
                    refused.append(f"{param.key}={param.value!r}: {single.message[:200]}")
    if refused:
        raise RefusedForGood("MLflow keeps a parameter's first value; refused: " + "; ".join(refused))


def _log_artifact(client: MlflowClient, run_id: str, event: RunEvent) -> None:
    """Log a version in a folder with the artifact's name, for MLflow's page; a figure's is in ``figures``."""
    data = event.data
    name = allowed_name(data["name"], _FORBIDDEN, 200)
    place = f"figures/{name}" if data["type"] == "figure" else name
    path = Path(data["path"])
    try:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), f"{place}/{path.name}")
        else:
            client.log_artifact(run_id, str(path), place)
    except FileNotFoundError as error:  # the version was pruned, or its run removed, before the delivery
        raise RefusedForGood(f"{path} is not there any more") from error
    version = "" if data["version"] is None else f"v{data['version']} "
    tags = {
        allowed_name(f"artifact.{data['name']}", _FORBIDDEN, MAX_NAME): f"{version}sha256:{data['checksum']}"
    }
    _set_tags(client, run_id, tags)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tags(tags: Any) -> dict[str, str]:
    return {allowed_name(f"tag.{tag}", _FORBIDDEN, MAX_NAME): "true" for tag in tags or ()}


def _source_tags(metadata: Mapping[str, Any]) -> dict[str, Any]:
    git = metadata.get("git") or {}
    return {
        "mlflow.source.name": metadata.get("command"),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git.get("commit"),
        "mlflow.source.git.branch": git.get("branch"),
        "ntrack.host": metadata.get("host"),
    }


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, Any]) -> None:
    from mlflow.entities import RunTag

    made = [RunTag(key, cut_text(str(value), MAX_TAG)) for key, value in tags.items() if value is not None]
    for start in range(0, len(made), BATCH_PARAMS):
        client.log_batch(run_id, tags=made[start : start + BATCH_PARAMS], synchronous=True)


def _set_status(client: MlflowClient, run_id: str, event: RunEvent) -> None:
    status = event.data["status"]
    if event.data.get("error"):
        _set_tags(client, run_id, {"ntrack.error": event.data["error"]})
    if status == "running":
        client.update_run(run_id, status="RUNNING")
    else:
        client.set_terminated(run_id, "FINISHED" if status == "completed" else "FAILED", event.time_ns // 10**6)


@contextlib.contextmanager
def _translated_errors(check_other_cause: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise RefusedForGood for errors that the events cause, else RetryLater, by MLflow's own error codes.

    ``check_other_cause`` is called before RefusedForGood is raised; it raises if there is another cause.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except RefusedForGood:
        check_other_cause()
        raise
    except MlflowException as error:
        if error.error_code == _ABSENT or error.error_code in _REFUSED:
            check_other_cause()
        text = without_credentials(error.message[:1000])
        if error.error_code in _REFUSED:
            raise RefusedForGood(f"MLflow refused it ({error.error_code}): {text}") from error
        if error.error_code in _DENIED:
            raise RetryLater(f"MLflow rejected the credentials: {text}", after_s=DENIED_AFTER_S) from error
        raise RetryLater(f"MLflow could not take it ({error.error_code}): {text}") from error

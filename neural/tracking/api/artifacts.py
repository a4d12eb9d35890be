"""The artifact methods of a tracker: log files, folders, models, figures and references; find versions."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural.tracking.core.names import check_alias, check_artifact_name, one_or_many

if TYPE_CHECKING:
    from neural.tracking.agent.artifact_snapshot import Snapshot
    from neural.tracking.agent.session import Session
    from neural.tracking.api.recorder import Recorder
    from neural.tracking.api.run_view import RunView
    from neural.tracking.artifacts.version import ArtifactVersion
    from neural.tracking.reader.artifacts import ArtifactCall, Artifacts

PathLike = str | os.PathLike[str]


class ArtifactMethods:
    """The artifact half of :class:`~neural.tracking.tracker.ExperimentTracker`."""

    _recorder: Recorder
    _view: RunView

    def log_artifact(
        self,
        path: PathLike | None = None,
        name: str | None = None,
        version: bool = True,
        *,
        artifact_path: PathLike | None = None,
        artifact_name: str | None = None,
        alias: str | Iterable[str] | None = (),
        metadata: Mapping[str, Any] | None = None,
        move: bool = False,
        snapshot: bool = True,
        reference: bool = False,
    ) -> ArtifactVersion:
        """Store a file or a folder as it is now, as the next version of its name.

        Args:
            path: the file or folder; a ``base_dir`` inside it is left out. With ``reference=True`` any URI,
                which is recorded and not fetched. ``artifact_path`` is another name of it.
            name: at most 200 bytes, valid as a file's name; default: the path's last part.
                ``artifact_name`` is another name of it.
            version: False replaces the current file under ``artifacts/`` and makes no version.
            alias: one or more names for this version; an earlier version loses them. ``latest`` always is the
                newest.
            metadata: a dict of JSON values, stored with the version.
            move: give the file away: it is gone from its path when this returns. On the same file system no
                byte is copied.
            snapshot: False promises that nobody changes the file until the version is stored. If somebody
                does, the version is lost, never wrong.
            reference: record ``path`` as a URI instead of storing a file.

        Returns:
            The version, which the collector still must store: see ``wait()``. If there was no room for the
            snapshot or the event, or in ``disabled`` mode, its ``lost`` says so, and the training continues.

        Raises:
            OSError: missing, not readable, neither file nor folder, a loop of links.
            SourceChangedError: the file or folder changed while it was read.
            TypeError, ValueError: a name, alias or metadata that cannot be stored, a folder without files or
                with over 100,000, arguments that exclude each other.
            PayloadTooLargeError: metadata over 256 KiB.
            TrackingError: the tracker is finished.

        Blocks: for the copy; briefly with ``move`` on the same file system, with ``snapshot=False``, or if the
        file system shares blocks.
        """
        source = _path_of("log_artifact() needs a path", path, artifact_path)
        options = {"alias": alias, "metadata": metadata, "version": version}
        chosen = name if name is not None else artifact_name
        if reference and (move or not snapshot):
            raise ValueError("a reference is recorded and not fetched: it takes neither move nor snapshot")
        if reference:
            return self._log_reference(source, chosen, **options)
        return self._log_path("artifact", source, chosen, move=move, snapshot=snapshot, **options)

    def log_model(
        self,
        path: PathLike | None = None,
        framework: str = "unknown",
        version: bool = True,
        *,
        model_path: PathLike | None = None,
        name: str | None = None,
        alias: str | Iterable[str] | None = (),
        metadata: Mapping[str, Any] | None = None,
        move: bool = False,
        snapshot: bool = True,
    ) -> ArtifactVersion:
        """Store a model's file or folder; ``framework``, a text, goes into its metadata.

        ``model_path`` is another name of ``path``; all else as ``log_artifact``.
        """
        if not isinstance(framework, str):
            raise TypeError(f"framework must be text, not {type(framework).__name__}")
        source = _path_of("log_model() needs a path", path, model_path)
        described = {"framework": framework, **_checked_metadata(metadata)}
        options = {"alias": alias, "metadata": described, "version": version}
        return self._log_path("model", source, name, move=move, snapshot=snapshot, **options)

    def log_figure(
        self,
        figure: Any,
        name: str | None = None,
        *,
        figure_name: str | None = None,
        version: bool = True,
        alias: str | Iterable[str] | None = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> ArtifactVersion:
        """Render a figure now and store it, also under ``plots/``.

        Args:
            figure: of matplotlib; or of plotly, which becomes HTML and JSON, and an image if kaleido is
                installed.
            name: its ending chooses the format, PNG without one. ``figure_name`` is another name of it.
            version, alias, metadata: as for ``log_artifact``.

        Returns:
            The version of the file in the requested format; HTML if a plotly image cannot be rendered.

        Raises:
            TypeError: another kind of figure, or no name. All else as ``log_artifact``, and whatever rendering
                a matplotlib figure raises.

        Blocks: while the figure is rendered.
        """
        from neural.tracking.api.figure_files import figure_files

        chosen = name if name is not None else figure_name
        if chosen is None:
            raise TypeError("log_figure() needs a name")
        check_artifact_name(chosen)
        made = []
        for file_name, write in figure_files(figure, chosen):
            taking = _rendering(write, f"figure {chosen}")
            made.append(self._log("figure", file_name, taking, alias=alias, metadata=metadata, version=version))
        return made[0]

    def list_artifact_versions(
        self, name: str | None = None, *, artifact_name: str | None = None
    ) -> list[ArtifactVersion]:
        """Return the stored versions of a name, oldest first; an empty list if there are none.

        ``artifact_name`` is another name of ``name``.

        Raises:
            TypeError, InvalidNameError: no name, or one that is not valid.
            DataDamagedError: as ``get_metrics``.

        Blocks: until this tracker's own versions are stored: 60 s at most, 5 s if no collector answers yet.
        """
        chosen = _name_of("list_artifact_versions", name, artifact_name)
        artifacts = self._artifacts()
        return [self._version(artifacts, entry) for entry in artifacts.versions(chosen)]

    def get_artifact_version(
        self, name: str | None = None, version: int | str = -1, *, artifact_name: str | None = None
    ) -> ArtifactVersion | None:
        """Return one stored version; None if there is no such version.

        Args:
            name: of the artifact; ``artifact_name`` is another name of it.
            version: its number, counted from 1; ``-1`` is the newest, ``-2`` the one before; also ``"v3"`` or
                an alias.

        Blocks and raises as ``list_artifact_versions``.
        """
        chosen = _name_of("get_artifact_version", name, artifact_name)
        artifacts = self._artifacts()
        entry = artifacts.find(chosen, version)
        return None if entry is None else self._version(artifacts, entry)

    @property
    def artifacts(self) -> dict[str, Any]:
        """Each name's current file and its versions, as in ``artifacts.json``.

        Blocks and raises as ``list_artifact_versions``.
        """
        from neural.tracking.reader.artifact_views import artifacts_view

        return artifacts_view(self._artifacts())

    def _artifacts(self) -> Artifacts:
        pending = self._recorder.pending_artifacts
        if pending is not None:
            pending.settle(pending.max_wait_s())
        return self._view.run().facts.artifacts

    def _version(self, artifacts: Artifacts, entry: ArtifactCall) -> ArtifactVersion:
        from neural.tracking.artifacts.version import ArtifactVersion
        from neural.tracking.reader.artifact_views import names_of_versions

        aliases = names_of_versions(artifacts, entry.name).get(entry.version or 0, [])
        folder = self._recorder.opening.folder
        return ArtifactVersion(folder, entry.call, entry.time_ns, entry=entry, aliases=aliases)

    def _log_path(
        self, kind: str, source: str, name: str | None, *, move: bool, snapshot: bool, **options: Any
    ) -> ArtifactVersion:
        if move and not snapshot:
            raise ValueError("move=True gives the file away and snapshot=False leaves it: choose one")
        if "://" in source and not os.path.lexists(source):
            raise FileNotFoundError(errno.ENOENT, "no such file; reference=True records a URI as it is", source)
        chosen = os.path.basename(source.rstrip(os.sep)) if name is None else name
        return self._log(kind, chosen, _taking(source, move=move, snapshot=snapshot), **options)

    def _log_reference(self, uri: str, name: str | None, **options: Any) -> ArtifactVersion:
        """Record a URI; the stored file is a small JSON file with the URI."""
        chosen = uri.rstrip("/").rpartition("/")[2] if name is None else name
        content = json.dumps({"reference": uri}, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        writing = _rendering(lambda path: _write(path, content), uri)
        return self._log("reference", chosen, writing, uri=uri, **options)

    def _log(
        self,
        kind: str,
        name: str,
        taking: Callable[[Session], Snapshot],
        *,
        version: bool,
        alias: str | Iterable[str] | None,
        metadata: Mapping[str, Any] | None,
        uri: str | None = None,
    ) -> ArtifactVersion:
        """Check the arguments, take the snapshot, and emit the event that names it."""
        aliases = [check_alias(one) for one in one_or_many(() if alias is None else alias)]
        call: dict[str, Any] = {
            "name": check_artifact_name(name),
            "type": kind,
            "versioned": bool(version),
            "aliases": list(dict.fromkeys(aliases)),
            "metadata": _checked_metadata(metadata),
            **({} if uri is None else {"uri": uri}),
        }
        recorder = self._recorder
        recorder.refuse_if_ended("an artifact")
        if recorder.opening.config.mode == "disabled":
            from neural.tracking.artifacts.version import ArtifactVersion
            from neural.tracking.formats.artifact_event import new_token

            off = {"token": new_token(), "how": "not at all", "size": 0, "lost": "tracking is disabled"}
            return ArtifactVersion(recorder.opening.folder, {**call, **off}, time.time_ns())
        session = recorder.open()
        session.open_now()
        taken = taking(session)
        described = {
            "token": taken.token,
            "how": taken.how,
            "size": taken.size,
            "source": taken.source.encode("utf-8", "backslashreplace").decode(),
            "spool": str(session.spool),
            **{key: value for key in ("files", "stat", "lost") if (value := getattr(taken, key)) is not None},
        }
        return self._emitted({**call, **described}, taken)

    def _emitted(self, call: dict[str, Any], taken: Snapshot) -> ArtifactVersion:
        try:
            kept = self._recorder.emit("artifact", call)
        except BaseException:
            taken.discard()
            raise
        if kept:
            taken.release_source()
        else:
            taken.discard()
            call = {**call, "lost": "outbox_full"}
        return self._recorder.follow(call)


def _taking(source: str, *, move: bool, snapshot: bool) -> Callable[[Session], Snapshot]:
    def taking(session: Session) -> Snapshot:
        from neural.tracking.agent.artifact_snapshot import leave_in_place, take

        # A collector on another host gets the bytes later, so it needs a copy.
        in_place = not snapshot and session.config.collector is None
        return leave_in_place(source) if in_place else take(session, source, move=move)

    return taking


def _rendering(write: Callable[[Path], None], what: str) -> Callable[[Session], Snapshot]:
    def taking(session: Session) -> Snapshot:
        from neural.tracking.agent.artifact_snapshot import render

        return render(session, write, what)

    return taking


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _path_of(missing: str, *given: PathLike | None) -> str:
    path = next((one for one in given if one is not None), None)
    if path is None:
        raise TypeError(missing)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a path, not {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError("path must be text, not bytes; pass os.fsdecode() of it")
    if "\0" in text or not text:
        raise ValueError(f"path {text[:60]!r} is empty or holds NUL")
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def _name_of(what: str, *given: str | None) -> str:
    name = next((one for one in given if one is not None), None)
    if name is None:
        raise TypeError(f"{what}() needs the artifact's name")
    return check_artifact_name(name)


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as JSON values.

    Raises:
        TypeError: not a mapping, or with values that JSON cannot represent.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(metadata), ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"metadata must be what JSON can hold: {error}") from error
    return found

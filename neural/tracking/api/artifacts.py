"""The artifacts of a tracker's run: log files, folders, models, figures and references, and find them again."""

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
        alias: str | Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        move: bool = False,
        snapshot: bool = True,
        reference: bool = False,
    ) -> ArtifactVersion:
        """Keep a file or a folder as it is now, as the next version of its name.

        Args:
            path: the file or folder; with ``reference=True`` any URI, which is recorded and not fetched.
                Also spelt ``artifact_path``.
            name: at most 200 bytes, what a file may be called; default: the path's last part. Also spelt
                ``artifact_name``.
            version: False replaces what is current under ``artifacts/`` and makes no version.
            alias: names for this version, taken from whatever version had them; ``latest`` always is the
                newest.
            metadata: a dict that JSON can hold, kept with the version.
            move: give the file away: it is gone from its path when this returns, and no byte was copied
                where the file system is the same.
            snapshot: False promises that nobody touches the file until the version is stored; if somebody
                does, the version is lost, never wrong.

        Returns:
            The version, which the collector still has to store: see ``wait()``. Where there was no room for
            the snapshot its ``lost`` says so, and the training goes on.

        Raises:
            OSError: missing, not permitted, neither file nor folder, a loop of links.
            SourceChangedError: it changed while it was read.
            TypeError, ValueError: a name, alias or metadata that cannot be kept, a folder without files.
            PayloadTooLargeError: metadata over 256 KiB.

        Blocks: for the copy; not at all for ``move``, ``snapshot=False`` or where blocks can be shared.
        """
        source = _path_of("log_artifact() needs a path", path, artifact_path)
        asked = {"alias": alias, "metadata": metadata, "version": version}
        chosen = name if name is not None else artifact_name
        if reference and (move or not snapshot):
            raise ValueError("a reference is recorded and not fetched: it takes neither move nor snapshot")
        if reference:
            return self._log_reference(source, chosen, **asked)
        return self._log_path("artifact", source, chosen, move=move, snapshot=snapshot, **asked)

    def log_model(
        self,
        path: PathLike | None = None,
        framework: str = "unknown",
        version: bool = True,
        *,
        model_path: PathLike | None = None,
        name: str | None = None,
        alias: str | Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        move: bool = False,
        snapshot: bool = True,
    ) -> ArtifactVersion:
        """Keep a model's file or folder; ``framework`` goes into its metadata.

        ``path`` is also spelt ``model_path``; all else as ``log_artifact``.
        """
        if not isinstance(framework, str):
            raise TypeError(f"framework must be text, not {type(framework).__name__}")
        source = _path_of("log_model() needs a path", path, model_path)
        told = {"framework": framework, **_checked_metadata(metadata)}
        asked = {"alias": alias, "metadata": told, "version": version}
        return self._log_path("model", source, name, move=move, snapshot=snapshot, **asked)

    def log_figure(
        self,
        figure: Any,
        name: str | None = None,
        *,
        figure_name: str | None = None,
        version: bool = True,
        alias: str | Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> ArtifactVersion:
        """Render a figure now and keep it, also under ``plots/``.

        Args:
            figure: matplotlib's; or plotly's, which becomes HTML and JSON, and a picture where kaleido is
                installed.
            name: its ending chooses the format, PNG without one. Also spelt ``figure_name``.
            version, alias, metadata: as for ``log_artifact``.

        Returns:
            The version of the file in the format that was asked for.

        Raises:
            TypeError: another kind of figure. All else as ``log_artifact``.

        Blocks: for rendering, which needs the figure as it is now.
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
        """Return the stored versions of a name, oldest first; ``artifact_name`` is ``name``.

        Blocks: until those this tracker logged are stored, as reading ``version`` does.
        """
        chosen = _name_of("list_artifact_versions", name, artifact_name)
        artifacts = self._artifacts()
        return [self._version(artifacts, entry) for entry in artifacts.versions(chosen)]

    def get_artifact_version(
        self, name: str | None = None, version: int | str = -1, *, artifact_name: str | None = None
    ) -> ArtifactVersion | None:
        """Return one stored version, None where there is none.

        Args:
            name: of the artifact; also spelt ``artifact_name``.
            version: its number, counted from 1; ``-1`` is the newest; also ``"v3"`` or an alias.

        Blocks: as ``list_artifact_versions``.
        """
        chosen = _name_of("get_artifact_version", name, artifact_name)
        artifacts = self._artifacts()
        entry = artifacts.find(chosen, version)
        return None if entry is None else self._version(artifacts, entry)

    @property
    def artifacts(self) -> dict[str, Any]:
        """Of each name what is current, and its versions, as ``artifacts.json`` has it."""
        from neural.tracking.reader.artifact_views import artifacts_view

        return artifacts_view(self._artifacts())

    def _artifacts(self) -> Artifacts:
        followed = self._recorder.followed
        if followed is not None:
            followed.settle(followed.max_wait_s())
        return self._view.run().facts.artifacts

    def _version(self, artifacts: Artifacts, entry: ArtifactCall) -> ArtifactVersion:
        from neural.tracking.artifacts.version import ArtifactVersion
        from neural.tracking.reader.artifact_views import names_of_versions

        aliases = names_of_versions(artifacts, entry.name).get(entry.version or 0, [])
        folder = self._recorder.opening.folder
        return ArtifactVersion(folder, entry.call, entry.time_ns, entry=entry, aliases=aliases)

    def _log_path(
        self, kind: str, source: str, name: str | None, *, move: bool, snapshot: bool, **asked: Any
    ) -> ArtifactVersion:
        if move and not snapshot:
            raise ValueError("move=True gives the file away and snapshot=False leaves it: choose one")
        if "://" in source and not os.path.lexists(source):
            raise FileNotFoundError(errno.ENOENT, "no such file; reference=True records a URI as it is", source)
        chosen = os.path.basename(source.rstrip(os.sep)) if name is None else name
        return self._log(kind, chosen, _taking(source, move=move, snapshot=snapshot), **asked)

    def _log_reference(self, uri: str, name: str | None, **asked: Any) -> ArtifactVersion:
        """Keep where something is: what is stored is a small file that says so."""
        chosen = uri.rstrip("/").rpartition("/")[2] if name is None else name
        content = json.dumps({"reference": uri}, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        writing = _rendering(lambda path: _write(path, content), uri)
        return self._log("reference", chosen, writing, uri=uri, **asked)

    def _log(
        self,
        kind: str,
        name: str,
        taking: Callable[[Session], Snapshot],
        *,
        version: bool,
        alias: str | Iterable[str],
        metadata: Mapping[str, Any] | None,
        uri: str | None = None,
    ) -> ArtifactVersion:
        """Check what was given, take the snapshot, emit the event that names it."""
        aliases = [check_alias(one) for one in one_or_many(alias)]
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
        told = {
            "token": taken.token,
            "how": taken.how,
            "size": taken.size,
            "source": taken.source.encode("utf-8", "backslashreplace").decode(),
            "spool": str(session.spool),
            **{key: value for key in ("files", "stat", "lost") if (value := getattr(taken, key)) is not None},
        }
        return self._emitted({**call, **told}, taken)

    def _emitted(self, call: dict[str, Any], taken: Snapshot) -> ArtifactVersion:
        try:
            kept = self._recorder.emit("artifact", call)
        except BaseException:
            taken.discard()
            raise
        if kept:
            taken.give_away()
        else:
            taken.discard()
            call = {**call, "lost": "outbox_full"}
        return self._recorder.follow(call)


def _taking(source: str, *, move: bool, snapshot: bool) -> Callable[[Session], Snapshot]:
    def taking(session: Session) -> Snapshot:
        from neural.tracking.agent.artifact_snapshot import leave_in_place, take

        # What a collector on another host is to get has to be still there when it is sent: a copy.
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
    """Return metadata as JSON gives it back.

    Raises:
        TypeError: not a mapping, or with what JSON cannot hold.
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

"""Storing an artifact: repeated, interrupted, with a second collector, without links, over damage."""

import errno
import hashlib
import os
import threading

import pytest

from neural.tracking.artifacts.sweep import sweep
from neural.tracking.collector.artifacts.commit import BytesLost, Commit
from neural.tracking.collector.artifacts.version_numbers import VersionNumbers
from neural.tracking.core.copying import Stopped
from neural.tracking.formats import manifest
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.state import artifact_jobs
from neural.tracking.state.paths import State

SESSION = "cd" * 16


class Desk:
    """A state folder, a run folder, and the version numbers that a collector remembers."""

    def __init__(self, folder, name="one"):
        self.state = State(base_dir=folder / "runs", root=folder / f"state-{name}")
        self.run = folder / "runs" / "run_1"
        for place in (self.state.root, self.run, self.state.spool / SESSION):
            place.mkdir(parents=True, exist_ok=True)
        self.numbers = VersionNumbers()
        self.seq = 0

    def job(self, content, name="model.pt", **changes):
        """Return the job of a call whose snapshot is in the spool; a dict as content makes a folder."""
        self.seq += 1
        said = {"name": name, "token": new_token(), "how": "copy", "spool": str(self.state.spool), **changes}
        path = self.state.spool / SESSION / said["token"]
        if isinstance(content, dict):
            path.mkdir()
            for relative, data in content.items():
                (path / relative).parent.mkdir(parents=True, exist_ok=True)
                (path / relative).write_bytes(data)
            said.update(size=sum(map(len, content.values())), files=len(content))
        else:
            path.write_bytes(content)
            said.setdefault("size", len(content))
        return artifact_jobs.make(b"u" * 16, "run_1", SESSION, self.seq, self.seq, {}, said)

    def store(self, job, *, again=False, on_progress=lambda count: None):
        """Store the job, and remember that its note was written, as the artifact store does."""
        told = Commit(self.state, self.run, job, self.numbers, on_progress, again=again, local=True).store()
        if told["version"] is not None:
            self.numbers.mark_noted(self.run, job.name, told["version"])
        return told

    def read(self, told):
        return (self.run / told["path"]).read_bytes()

    def blobs(self):
        return sorted(path.name for path in self.state.blobs.rglob("*") if path.is_file())


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_stored_version_is_a_read_only_link_to_its_blob(desk):
    told = desk.store(desk.job(b"weights"))

    path = desk.run / "versions" / "model.pt" / "v1_model.pt"
    assert told == {
        "sha256": sha256(b"weights"), "size": 7, "version": 1, "path": "versions/model.pt/v1_model.pt",
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.samefile(desk.state.blobs / told["sha256"][:2] / told["sha256"])
    assert path.samefile(desk.run / "artifacts" / "model.pt")


def test_two_collectors_never_take_the_same_number(tmp_path):
    desks = [Desk(tmp_path, name) for name in ("one", "two")]
    found = []

    def work(desk):
        for number in range(15):
            content = b"%d %d" % (id(desk), number)
            found.append((content, desk.read(told := desk.store(desk.job(content))), told["version"]))

    threads = [threading.Thread(target=work, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(version for *_, version in found) == list(range(1, 31))
    assert all(content == stored for content, stored, _ in found)


def test_file_and_folder_of_one_name_share_the_numbers(desk):
    contents = [b"x", {"a": b"x"}, b"y", {"a": b"y", "b/c": b"z"}]

    numbers = [desk.store(desk.job(content))["version"] for content in contents]

    assert numbers == [1, 2, 3, 4]


def test_job_done_again_finds_the_version_it_made(desk):
    job = desk.job(b"weights")
    first = desk.store(job)
    desk.numbers = VersionNumbers()  # the collector died before the note

    assert desk.store(job, again=True) == first
    assert len(list((desk.run / "versions" / "model.pt").iterdir())) == 1


def test_folder_job_done_again_finds_the_version_it_made(desk):
    job = desk.job({"a": b"1", "deep/b": b"2"})
    first = desk.store(job)
    desk.numbers = VersionNumbers()

    assert desk.store(job, again=True) == first
    names = sorted(path.name for path in (desk.run / "versions" / "model.pt").iterdir())
    assert names == ["v1_model.pt", "v1_model.pt.manifest.json"]


def test_folder_claimed_and_not_put_in_place_is_completed(desk):
    job = desk.job({"a": b"1"})
    first = desk.store(job)
    target = desk.run / first["path"]
    target.rename(target.with_name(f".tmp-{job.token}"))  # killed between claim and rename
    desk.numbers = VersionNumbers()

    assert desk.store(job, again=True) == first
    assert (target / "a").read_bytes() == b"1"


def test_same_bytes_of_another_job_are_no_version_of_this_one(desk):
    first, second = desk.job(b"same"), desk.job(b"same")
    desk.store(first)

    assert desk.store(second, again=True)["version"] == 2


def test_stopped_in_the_middle_it_is_done_in_the_next_life(desk):
    def stop(count):
        raise Stopped

    job = desk.job(bytes(3 << 20))

    with pytest.raises(Stopped):
        desk.store(job, on_progress=stop)
    assert not (desk.run / "versions").exists()
    assert desk.store(job, again=True)["version"] == 1


def test_sweep_between_two_steps_costs_nothing(desk):
    desk.store(desk.job(b"same"))
    for name in ("versions/model.pt/v1_model.pt", "artifacts/model.pt"):
        (desk.run / name).unlink()  # without an owner until the next job uses it
    job = desk.job(b"same", name="other")
    link = os.link

    def sweep_first(source, target, **more):
        if "versions" in str(target):
            os.link = link
            for blob in desk.state.blobs.rglob("?" * 64):
                blob.unlink()
        link(source, target, **more)

    os.link = sweep_first
    try:
        told = desk.store(job)
    finally:
        os.link = link

    assert desk.read(told) == b"same"


def test_blob_is_nobody_s_only_once_its_version_is_gone(desk):
    told = desk.store(job := desk.job(b"weights"))
    job.spooled(desk.state).unlink()

    kept = sweep(desk.state.blobs)
    (desk.run / told["path"]).unlink()
    (desk.run / "artifacts" / "model.pt").unlink()
    gone = sweep(desk.state.blobs)

    assert (kept.blobs, gone.blobs, gone.size_bytes) == (0, 1, 7)


def test_damaged_blob_is_not_shared(desk):
    told = desk.store(desk.job(b"weights"))
    path = desk.run / told["path"]
    path.chmod(0o644)
    path.write_bytes(b"WEIGHTS")

    again = desk.store(desk.job(b"weights"))

    assert desk.read(again) == b"weights"
    assert desk.read(desk.store(desk.job(b"weights"))) == b"weights"


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_where_links_run_out_the_version_is_a_copy(desk, monkeypatch, number):
    def no_link(*args, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_link)

    told = [desk.store(desk.job(b"weights")) for _ in range(2)]

    assert [each["version"] for each in told] == [1, 2]
    assert all(desk.read(each) == b"weights" for each in told)


def test_snapshot_that_still_has_another_name_is_copied(desk, tmp_path):
    job = desk.job(b"weights")
    os.link(job.spooled(desk.state), tmp_path / "source")  # move=True, and killed before the file was moved

    told = desk.store(job)
    (tmp_path / "source").write_bytes(b"the next checkpoint")

    assert desk.read(told) == b"weights"


def test_try_that_failed_after_its_claim_takes_no_second_number(desk):
    job = desk.job(b"weights")
    (desk.run / "artifacts").write_bytes(b"in the way")
    with pytest.raises(OSError):
        desk.store(job)

    (desk.run / "artifacts").unlink()

    assert desk.store(job, again=True)["version"] == 1
    assert len(list((desk.run / "versions" / "model.pt").iterdir())) == 1


@pytest.mark.parametrize("harm", ["gone", "shorter", "a link", "a folder"])
def test_snapshot_that_is_not_what_was_taken_is_lost_with_a_reason(desk, harm):
    job = desk.job(b"weights")
    path = job.spooled(desk.state)
    path.unlink()
    if harm == "shorter":
        path.write_bytes(b"weig")
    elif harm == "a link":
        path.symlink_to("/etc/passwd")
    elif harm == "a folder":
        path.mkdir()

    with pytest.raises(BytesLost):
        desk.store(job)
    assert desk.blobs() == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_snapshot_that_cannot_be_read_just_now_is_not_lost(desk, monkeypatch, number):
    def refuse(path, *, follow):
        raise OSError(number, os.strerror(number), str(path))

    job = desk.job(b"weights")
    with monkeypatch.context() as patched:
        patched.setattr("neural.tracking.collector.artifacts.commit.open_regular", refuse)
        with pytest.raises(OSError):
            desk.store(job)

    assert desk.store(job, again=True)["version"] == 1


def test_folder_with_a_file_too_few_is_lost(desk):
    job = desk.job({"a": b"1", "b": b"2"})
    (job.spooled(desk.state) / "b").unlink()

    with pytest.raises(BytesLost, match="1 files of 1 bytes"):
        desk.store(job)


@pytest.mark.parametrize("part", ["versions", "artifacts", "versions/model.pt"])
def test_link_out_of_the_run_folder_is_not_followed(desk, tmp_path, part):
    outside = tmp_path / "outside"
    outside.mkdir()
    (desk.run / part).parent.mkdir(exist_ok=True)
    (desk.run / part).symlink_to(outside)

    with pytest.raises(ValueError, match="leaves its folder"):
        desk.store(desk.job(b"weights"))
    assert list(outside.iterdir()) == []


def test_manifest_lists_the_files_and_its_digest_is_the_checksum(desk):
    told = desk.store(desk.job({"b": b"2", "a/x": b"1"}))

    data = (desk.run / (told["path"] + manifest.SUFFIX)).read_bytes()
    assert [(item.path, item.size, item.sha256) for item in manifest.decode(data)] == [
        ("a/x", 1, sha256(b"1")),
        ("b", 1, sha256(b"2")),
    ]
    assert told["sha256"] == sha256(data)


def test_unversioned_folder_replaces_the_one_before(desk):
    desk.store(desk.job({"a": b"1", "old": b"2"}, versioned=False))
    told = desk.store(desk.job({"a": b"3"}, versioned=False))

    assert told["version"] is None
    assert {path.name: path.read_bytes() for path in (desk.run / "artifacts" / "model.pt").iterdir()} == {
        "a": b"3"
    }
    assert not list((desk.run / "versions" / "model.pt").glob("v*"))

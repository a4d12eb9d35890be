"""The spool's cleanup removes the remains of calls that no event names and none will."""

import pytest

from neural.tracking.collector.artifacts import spool_cleanup
from neural.tracking.collector.log.sessions import Position, Sessions, SessionState
from neural.tracking.formats.artifact_event import new_token
from neural.tracking.state import artifact_jobs
from neural.tracking.state.outbox_files import ADOPTED_SUFFIX
from neural.tracking.state.paths import State

SESSION = "cd" * 16
END = Position(1, 500, b"l" * 16)


class Spool:
    """The spool of one session that ended at ``END``, with the files of a killed call."""

    def __init__(self, folder):
        self.state = State(base_dir=folder, root=folder)
        self.folder = self.state.spool / SESSION
        self.folder.mkdir(parents=True)
        self.session = SessionState(bytes.fromhex(SESSION), b"u" * 16, {}, ended=7, end=END)
        self.sessions = Sessions()
        self.sessions.add(self.session)
        self.left = [self._put(f".tmp-{new_token()}"), self._put(new_token())]

    def _put(self, name):
        (self.folder / name).write_bytes(b"half")
        return name

    def tidy(self, applied=END, tokens=()):
        """Clean up as the artifact store does; return the remaining files."""
        spool_cleanup.remove_unreferenced(
            spool_cleanup.finished_folders(self.state, self.sessions, applied), tokens
        )
        return sorted(path.name for path in self.folder.rglob("*"))


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path)


def test_rest_of_a_session_that_is_over_goes_with_its_folder(spool):
    (spool.folder / spool.left[1]).unlink()
    (spool.folder / spool.left[1] / "deep").mkdir(parents=True)

    assert spool.tidy() == []
    assert not spool.folder.exists()


def test_session_that_the_log_forgot_is_over(spool):
    spool.sessions.forget_passed(END)

    assert spool.tidy() == []


def still_open(spool):
    spool.session.ended = None


def not_applied(spool):
    spool.session.end = END._replace(offset=END.offset + 1)


def with_an_outbox(spool):
    (spool.state.outbox / SESSION).mkdir(parents=True)


def being_adopted(spool):
    (spool.state.outbox / f"{SESSION}{ADOPTED_SUFFIX}").mkdir(parents=True)


def in_quarantine(spool):
    (spool.state.quarantine / spool.session.uid.hex()).mkdir(parents=True)


def in_quarantine_and_forgotten_by_the_log(spool):
    in_quarantine(spool)
    spool.sessions.forget_passed(END)


@pytest.mark.parametrize(
    "make",
    [
        still_open,
        not_applied,
        with_an_outbox,
        being_adopted,
        in_quarantine,
        in_quarantine_and_forgotten_by_the_log,
    ],
)
def test_nothing_goes_while_an_event_may_still_name_it(spool, make):
    make(spool)

    assert spool.tidy() == sorted(spool.left)


@pytest.mark.parametrize("forgotten", [False, True])
def test_bytes_of_a_run_in_quarantine_are_wanted_until_it_left(spool, forgotten):
    in_quarantine(spool)
    if forgotten:
        spool.sessions.forget_passed(END)

    wanted = not spool_cleanup.is_settled(spool.state, spool.sessions, SESSION, END)
    (spool.state.quarantine / spool.session.uid.hex()).rmdir()

    assert wanted
    assert spool_cleanup.is_settled(spool.state, spool.sessions, SESSION, END)


def test_job_that_the_store_made_and_nobody_read_yet_still_wants_its_bytes(spool):
    job = artifact_jobs.make(
        b"u" * 16, "run", SESSION, 3, 1, {}, {"name": "m", "token": new_token(), "size": 1, "how": "copy"}
    )
    artifact_jobs.write(spool.state, job)

    assert spool_cleanup.has_unread_job(spool.state, SESSION, set())
    assert not spool_cleanup.has_unread_job(spool.state, SESSION, {(SESSION, 3)})
    assert not spool_cleanup.has_unread_job(spool.state, "ab" * 16, set())


def test_other_runs_in_quarantine_keep_nothing_of_one_that_is_known(spool):
    (spool.state.quarantine / ("ef" * 16)).mkdir(parents=True)

    assert spool.tidy() == []


def test_what_a_job_waits_for_stays_whole_or_half(spool):
    half, whole = spool.left

    assert spool.tidy(tokens={whole}) == [whole]
    (spool.folder / half).write_bytes(b"half")
    assert spool.tidy(tokens={whole, half.removeprefix(".tmp-")}) == sorted(spool.left)


def test_folder_that_is_no_session_s_is_not_touched(spool):
    other = spool.state.spool / "mine"
    other.mkdir()
    (other / "file").touch()

    spool.tidy()

    assert (other / "file").exists()


def test_copies_beside_the_blobs_go_with_the_life_that_made_them_and_no_other_s(spool):
    blobs = spool.state.blobs
    (blobs / "ab").mkdir(parents=True)
    mine, others = f".tmp-{spool.state.collector_id()}-x", ".tmp-00000000-x"
    for name in (mine, others, "ab/blob"):
        (blobs / name).write_bytes(b"x")

    spool_cleanup.remove_temporaries(spool.state)

    assert sorted(path.name for path in blobs.rglob("*") if path.is_file()) == [others, "blob"]

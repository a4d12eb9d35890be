"""Which sessions a removal covers, and its account of them."""

import secrets

import pytest

from neural.tracking.formats import event_lines
from neural.tracking.state.tombstones import AFTER, FORMER, NONE, UNKNOWN, Late, Tombstones

UID, SESSION = b"u" * 16, b"s" * 16


@pytest.fixture
def stones(tmp_path):
    return Tombstones(tmp_path / "state" / "stones")


def opened(stones):
    """Return the info of a session that is opened now."""
    newest = stones.newest(UID)
    return {AFTER: newest} if newest else {}


def test_run_that_was_never_removed_has_none(stones):
    assert stones.of(UID) is None
    assert stones.newest(UID) == NONE
    assert not stones.covers(UID, {})
    assert not stones.covers(UID, {AFTER: "of another base_dir"})


def test_removal_covers_what_was_opened_before_it_and_nothing_later(stones):
    sessions = []
    for _ in range(3):
        sessions.append(opened(stones))
        stones.add(UID)
    sessions.append(opened(stones))

    assert [stones.covers(UID, info) for info in sessions] == [True, True, True, False]


def test_tombstone_of_a_former_release_covers_what_is_of_a_former_release(stones, tmp_path):
    (tmp_path / "state" / "stones").mkdir(parents=True)
    (tmp_path / "state" / "stones" / UID.hex()).touch()

    assert stones.newest(UID) == FORMER
    assert stones.covers(UID, {})
    assert not stones.covers(UID, opened(stones))


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"null", b'{"format": 1, "crc": "00000000"}', b"\xff"])
def test_damaged_tombstone_costs_no_session_that_was_opened_after_a_removal(stones, tmp_path, content):
    before = opened(stones)
    stones.add(UID)
    after = opened(stones)
    (tmp_path / "state" / "stones" / UID.hex()).write_bytes(content)

    assert stones.covers(UID, before)
    assert not stones.covers(UID, after)
    assert not stones.covers(UID, opened(stones))


def test_session_that_could_not_read_it_is_not_lost(stones):
    stones.add(UID)

    assert not stones.covers(UID, {AFTER: UNKNOWN})


def test_second_removal_keeps_what_the_first_knew(stones):
    stones.add(UID, "train_75757575", ["aa"])
    stones.add(UID, remote_sessions=["bb"])

    found = stones.of(UID)

    assert (found.folder, found.remote_sessions) == ("train_75757575", {"aa", "bb"})


def test_account_tells_the_most_of_each_session_across_collectors_and_torn_lines(stones, tmp_path):
    stones.add(UID)
    stones.account("00000001", UID, SESSION, Late(5, 2))
    with (tmp_path / "state" / "stones" / f"{UID.hex()}-00000001.jsonl").open("ab") as file:
        file.write(event_lines.encode({"session": SESSION.hex(), "n": 99})[:-9])  # killed during the write
    stones.account("00000001", UID, b"t" * 16, Late(1, 0, exact=True))
    stones.account("00000002", UID, SESSION, Late(7, 2, exact=True))

    assert stones.late() == {UID: {SESSION.hex(): Late(7, 2, True), (b"t" * 16).hex(): Late(1, 0, True)}}


def test_account_of_a_removed_run_needs_no_session_that_anybody_knows(stones):
    stones.add(UID)

    assert stones.late() == {}
    assert Late.of({"rank": "none"}, 3) == Late(3, 0)
    assert stones.of(secrets.token_bytes(16)) is None

"""Which sessions may join a removed run; none may during the removal."""

import asyncio

import pytest

from neural.tracking.collector.ingest.removals import Removals, admitted_info
from neural.tracking.collector.log.sessions import VIA, SessionState
from neural.tracking.state.tombstones import AFTER, Late, Tombstone, Tombstones

UID, SESSION = b"u" * 16, b"s" * 16
STONE = Tombstone("newest", "train_75757575", frozenset((b"n" * 16).hex() for _ in range(1)))
AFAR = {VIA: "me"}


@pytest.mark.parametrize(
    ("session", "info", "let_in"),
    [
        (SESSION, {}, None),
        (SESSION, {AFTER: "older"}, None),
        (SESSION, {AFTER: "newest"}, {AFTER: "newest"}),
        (SESSION, AFAR, {**AFAR, AFTER: "newest"}),  # it cannot read the tombstone; was unknown then
        (SESSION, {**AFAR, AFTER: "of its own base_dir"}, {**AFAR, AFTER: "newest"}),
        (b"n" * 16, AFAR, None),
    ],
)
def test_session_the_log_does_not_have_is_let_in_where_it_was_opened_later(session, info, let_in):
    assert admitted_info(STONE, session, info, None) == let_in


def test_session_the_log_has_is_judged_as_it_was_let_in():
    before, after = SessionState(SESSION, UID, AFAR), SessionState(SESSION, UID, {**AFAR, AFTER: "newest"})

    assert admitted_info(STONE, SESSION, AFAR, before) is None
    assert admitted_info(STONE, SESSION, AFAR, after) is not None


def test_while_a_run_is_removed_nobody_learns_whether_it_was(tmp_path):
    removals = Removals(Tombstones(tmp_path), lambda: "00000001")

    async def scenario():
        with removals.under_way(UID):
            waiting = asyncio.create_task(removals.look_up(UID))
            other, _ = await removals.look_up(b"o" * 16)
            assert other is None
            assert not waiting.done()
            removals.record(UID, "train_75757575", [])
        stone, number = await waiting
        assert stone is not None
        assert removals.is_current(number)
        with removals.under_way(b"o" * 16):
            assert not removals.is_current(number)

    asyncio.run(scenario())


def test_session_is_accounted_for_once_and_again_where_more_is_known(tmp_path):
    removals = Removals(Tombstones(tmp_path), lambda: "00000001")

    for late in (Late(3), Late(3), Late(2), Late(3, exact=True), Late(3, exact=True), Late(5, exact=True)):
        removals.account(SESSION, UID, late)

    (path,) = tmp_path.iterdir()
    assert path.read_bytes().count(b"\n") == 3
    assert Tombstones(tmp_path).late() == {UID: {SESSION.hex(): Late(5, 0, True)}}

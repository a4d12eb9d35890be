"""A process of another host claims what it does not have: it is refused, or counted without memory for it."""

import math
import secrets
import time

import pytest
import zmq

from neural.tracking.formats import events, wire
from neural.tracking.formats.event_checks import INFO
from neural.tracking.reader.run_list import list_runs
from neural.tracking.verify.verify import verify_base
from tests.faults.outcome import verify
from tests.faults.test_remote_hostile import connect
from tests.made_runs import Emitter
from tests.patience import wait_until


@pytest.fixture
def guest(remote):
    with zmq.Context() as context, connect(context, remote, remote.address.rpartition(":")[2]) as socket:
        yield socket


def ask(guest, message):
    guest.send_multipart(message.encode())
    return wire.decode(guest.recv_multipart())


def hello(guest, emitter, **info):
    about = {**emitter.info, "base_dir": "/x", "pid": 1, "host": "h", "boot_id": "b", "start_time": 1, **info}
    return ask(
        guest,
        wire.Hello(protocol=wire.PROTOCOL, version="x", session=emitter.session, uid=emitter.uid, info=about),
    )


def data(emitter, first=None, last=None):
    schemas, own_first, own_last, base, payload = emitter.batch()
    crc = wire.data_crc(schemas, payload)
    first, last = first or own_first, last or own_last
    return wire.Data(
        session=emitter.session, first=first, last=last, base=base, crc=crc, schemas=schemas, payload=payload
    )


def test_description_of_a_wrong_type_is_refused(guest):
    for key in INFO.keys() - {"via"}:
        for value in (b"\xff", -1, 1.5, ["x", 1], math.nan):
            answer = hello(guest, Emitter(name="guest"), **{key: value})

            assert (answer.type, getattr(answer, "code", "")) == ("refuse", "bad_hello"), (key, value)


@pytest.mark.parametrize(
    ("first", "last"), [(1, 2**62), (1, 4), (1, 2), (2, 4)], ids=["far more", "one more", "one less", "others"]
)
def test_batch_that_does_not_hold_what_it_claims_is_refused(guest, remote, first, last):
    emitter = Emitter(name="guest").open().metrics({"loss": 1.0}).metrics({"loss": 2.0})
    assert hello(guest, emitter).type == "welcome"

    answer = ask(guest, data(emitter, first, last))

    assert (answer.type, getattr(answer, "code", "")) == ("refuse", "bad_data")
    assert remote.status()["events_total"] == 0


def test_batch_of_every_kind_of_record_is_taken(guest):
    emitter = Emitter(name="guest").open().metrics({"loss": 1.0}).metrics({"acc": 2.0}).gap(1000)
    for step in range(100):
        emitter.metrics({"loss": float(step)})
    emitter.event("text", name="n", text="t").end()
    assert hello(guest, emitter).type == "welcome"

    assert ask(guest, data(emitter)).last == emitter.seq


def test_gap_of_all_the_numbers_there_are_costs_no_memory_and_is_told(guest, remote):
    emitter = Emitter(name="guest").open()
    assert hello(guest, emitter).type == "welcome"
    assert ask(guest, data(emitter)).last == 1
    gap = wire.GapNotice(session=emitter.session, first=2, last=2**62, reason="outbox_full")
    assert ask(guest, gap).last == 2**62
    over = emitter.lose(2**62 - 1).gap(2**62 - 2).metrics({"loss": 1.0}, step=1, time_ns=1)
    assert ask(guest, data(over)).last == 2**63 - 1

    wait_until(lambda: [run for run in list_runs(remote.base_dir) if run.has_points], what="it is stored")
    assert wait_until(lambda: verify(remote.base_dir) == 0, what="all is accounted for")
    (session,) = verify_base(remote.base_dir).runs[0].sessions
    assert (session.n, session.stored) == (2**63 - 1, 2)
    assert session.gaps == [(2, 2**63 - 2, "outbox_full")]


def test_number_over_all_there_are_is_no_event_of_a_stream():
    emitter = Emitter()
    emitter.session, emitter.uid = secrets.token_bytes(16), secrets.token_bytes(16)

    record = events.pack_gap(events.Gap(1, 2**63, time.time_ns(), "x"))

    with pytest.raises(events.FormatError):
        events.unpack_gap(record)

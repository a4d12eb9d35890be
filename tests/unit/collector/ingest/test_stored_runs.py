"""The facts that the collector reads from run folders."""

from neural.tracking.collector.ingest.stored_runs import StoredSession, stored_session
from neural.tracking.formats.ledgers import Ledger, SessionEntry

SESSION, UID = b"s" * 16, bytes.fromhex("0badcafe" + "00" * 12)


def ledger(folder, name, last, ended=None):
    folder.mkdir(exist_ok=True)
    content = Ledger(sessions={SESSION.hex(): SessionEntry(last, ended)})
    (folder / f"ledger-{name}.json").write_bytes(content.encode())


def test_the_most_of_all_ledgers_counts(tmp_path):
    ledger(tmp_path / "run_x", "00000001", 5)
    ledger(tmp_path / "run_x", "00000002", 9, ended=9)

    assert stored_session(tmp_path, "run_x", SESSION) == StoredSession(9, 9)


def test_missing_damaged_or_foreign_ledgers_are_as_none(tmp_path):
    folder = tmp_path / "run_x"
    folder.mkdir()
    for number, text in enumerate(["", "{", "[]", '{"sessions": 3}', '{"sessions": {}}', "null"]):
        (folder / f"ledger-0000000{number}.json").write_text(text)

    assert stored_session(tmp_path, "run_x", SESSION) == StoredSession()
    assert stored_session(tmp_path, "never", SESSION) == StoredSession()


def test_ledger_with_one_changed_digit_is_not_believed(tmp_path):
    ledger(tmp_path / "run_x", "00000001", 5)
    path = tmp_path / "run_x" / "ledger-00000001.json"
    path.write_bytes(path.read_bytes().replace(b'"last": 5', b'"last": 7'))

    assert stored_session(tmp_path, "run_x", SESSION) == StoredSession()


def test_folder_outside_is_not_read(tmp_path):
    ledger(tmp_path / "outside", "00000001", 5)
    base = tmp_path / "base"
    base.mkdir()
    (base / "link").symlink_to(tmp_path / "outside")

    for folder in ("../outside", str(tmp_path / "outside"), "..", ".", "", "link"):
        assert stored_session(base, folder, SESSION) == StoredSession()

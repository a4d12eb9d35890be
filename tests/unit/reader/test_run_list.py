"""Which folders contain a run, and that a removal affects only the named one."""

import pytest

from neural.tracking.core.files import remove_run_folder
from neural.tracking.errors import AmbiguousRunError
from neural.tracking.formats.run_file import RunFile
from neural.tracking.reader import run_list
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import find_run, list_runs, without_copies

UID = bytes.fromhex("0badcafe" + "00" * 12)
HOME = f"train_{UID.hex()[:8]}"


def made(base, name, uid=UID):
    """Create a folder with a run named ``train``."""
    folder = base / name
    folder.mkdir()
    RunFile(uid, "train", 1).write(folder, host="h", pid=1, durable=False)
    return folder


def test_folder_that_was_named_is_found_whatever_it_is_called(tmp_path):
    for name in (HOME, f"{HOME}.bak", "elsewhere"):
        made(tmp_path, name)

    for name in (HOME, f"{HOME}.bak", "elsewhere"):
        assert run_list.named_folder(tmp_path, UID, name).folder.name == name


def test_without_a_name_one_folder_is_meant_and_of_two_none(tmp_path):
    assert run_list.named_folder(tmp_path, UID) is None
    folder = made(tmp_path, "elsewhere")
    assert run_list.named_folder(tmp_path, UID).folder == folder
    copy = made(tmp_path, f"{HOME}.bak")

    with pytest.raises(AmbiguousRunError) as raised:
        run_list.named_folder(tmp_path, UID)

    assert raised.value.folders == [str(folder), str(copy)]


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "/outside", ".hidden", b"bytes", 3, "link"])
def test_what_is_no_folder_s_name_is_refused(tmp_path, name):
    made(tmp_path, "outside")
    base = tmp_path / "base"
    base.mkdir()
    made(base, HOME)
    (base / "link").symlink_to(base / HOME)

    with pytest.raises(ValueError):
        run_list.named_folder(base, UID, name)


def test_folder_of_another_run_is_not_taken_for_this_one(tmp_path):
    made(tmp_path, HOME, uid=UID[:4] + b"x" * 12)

    for name in (HOME, "nowhere"):
        with pytest.raises(FileNotFoundError):
            run_list.named_folder(tmp_path, UID, name)
    assert run_list.named_folder(tmp_path, UID) is None


def test_folder_beside_the_run_s_own_is_a_copy_and_the_run_s_own_never(tmp_path):
    alone = Run(made(tmp_path, f"{HOME}.bak"))
    assert not run_list.is_copy(tmp_path, alone)
    home = Run(made(tmp_path, HOME))

    assert run_list.is_copy(tmp_path, alone)
    assert not run_list.is_copy(tmp_path, home)


def test_what_an_earlier_removal_left_is_in_nobody_s_way(tmp_path):
    for _ in range(2):
        folder = made(tmp_path, HOME)
        (tmp_path / f".tmp-deleted-{UID.hex()}").mkdir(exist_ok=True)
        remove_run_folder(folder)

    assert list_runs(tmp_path) == []


def test_id_that_two_folders_bear_is_refused_with_both_paths(tmp_path):
    folders = [made(tmp_path, HOME), made(tmp_path, f"other_{UID.hex()[:8]}", uid=UID[:4] + b"x" * 12)]

    with pytest.raises(AmbiguousRunError) as raised:
        find_run(tmp_path, UID.hex()[:8])

    assert all(str(folder) in str(raised.value) for folder in folders)


def test_of_a_run_and_its_copies_its_own_folder_counts_wherever_each_is_wanted_once(tmp_path):
    for name in ("a", HOME, "z"):
        made(tmp_path, name)
    other = made(tmp_path, f"train_{'ff' * 4}", uid=b"\xff" * 16)

    assert {run.folder.name for run in without_copies(list_runs(tmp_path))} == {HOME, other.name}

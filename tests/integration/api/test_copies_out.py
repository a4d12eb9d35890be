"""Where a copy of an artifact goes: as ``cp -r`` would put it."""

import os
from pathlib import Path

import pytest

from tests.integration.api.conftest import STORED_S


@pytest.fixture
def file(tracker, source):
    version = tracker.log_artifact(source)
    assert version.wait(STORED_S)
    return version


@pytest.fixture
def folder(tracker, tmp_path):
    (tmp_path / "weights" / "deep").mkdir(parents=True)
    (tmp_path / "weights" / "deep" / "0").write_bytes(b"0")
    version = tracker.log_artifact(tmp_path / "weights")
    assert version.wait(STORED_S)
    return version


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The current and the home folder, and what is in it."""
    place = tmp_path / "there"
    (place / "folder").mkdir(parents=True)
    (place / "file").write_bytes(b"old")
    (place / "link").symlink_to("file")
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    return place


@pytest.mark.parametrize(
    ("to", "at"),
    [
        ("new.pt", "new.pt"),
        ("folder", "folder/model.pt"),
        ("folder/", "folder/model.pt"),
        ("~/new.pt", "new.pt"),
        ("~", "model.pt"),
        (".", "model.pt"),
        ("file", "file"),
        ("link", "file"),
        ("folder/../new.pt", "new.pt"),
    ],
)
def test_file_goes_where_cp_would_put_it(file, source, there, to, at):
    assert file.copy_to(to).resolve() == there / at
    assert (there / at).read_bytes() == source.read_bytes()
    assert (there / "link").is_symlink()
    assert [path for path in there.rglob("*") if path.name.startswith(".tmp")] == []


@pytest.mark.parametrize(
    ("to", "error", "named"),
    [
        ("none/new.pt", FileNotFoundError, "none"),
        ("none/", NotADirectoryError, "none/"),
        ("file/new.pt", OSError, "file"),
    ],
)
def test_file_that_cp_could_not_put_there_is_an_error_that_names_the_folder(file, there, to, error, named):
    with pytest.raises(error) as raised:
        file.copy_to(to)

    assert str(raised.value.filename) == named
    assert sorted(path.name for path in there.rglob("*")) == ["file", "folder", "link"]


def test_file_never_replaces_a_folder(file, there):
    (there / "folder" / "model.pt").mkdir()

    with pytest.raises(FileExistsError):
        file.copy_to("folder", force=True)


@pytest.mark.parametrize(("to", "at"), [("new", "new"), ("new/", "new"), ("folder", "folder/weights")])
def test_folder_goes_where_cp_would_put_it(folder, there, to, at):
    folder.copy_to(to)

    assert (there / at / "deep" / "0").read_bytes() == b"0"


def test_folder_replaces_one_of_its_name_only_when_told_to(folder, there):
    (there / "folder" / "weights").mkdir()
    (there / "folder" / "weights" / "old").touch()

    with pytest.raises(FileExistsError, match="folder/weights"):
        folder.copy_to(Path("folder"))
    folder.copy_to("folder", force=True)

    assert [path.name for path in (there / "folder" / "weights").iterdir()] == ["deep"]
    assert os.listdir(there / "folder") == ["weights"]

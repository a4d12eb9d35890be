"""Artifact names at the interfaces: in calls, and in events of any origin."""

import unicodedata

import pytest

from neural.tracking.core.names import check_alias, check_artifact_name
from neural.tracking.errors import FormatError, InvalidNameError
from neural.tracking.formats.manifest import ManifestEntry, check_relative, decode, encode
from neural.tracking.state import artifact_jobs
from tests.hostile_names import HOSTILE_NAMES


def stays_inside(name, root):
    """Return whether a file of that name is directly in ``root``, on this file system."""
    path = root / f"v1_{name}"
    return (root / name).resolve().parent == root.resolve() and path.resolve().parent == root.resolve()


def test_there_are_about_two_hundred_hostile_names():
    assert len(HOSTILE_NAMES) >= 200


def test_hostile_name_is_a_file_s_name_or_a_value_error(tmp_path):
    for name in HOSTILE_NAMES:
        try:
            checked = check_artifact_name(name)
        except ValueError:
            continue

        assert stays_inside(checked, tmp_path), ascii(name)
        assert len(f"v1234567_{checked}.manifest.json".encode()) <= 255, ascii(name)


@pytest.mark.parametrize("word", ["café.pt", "Ångström", "각"])
def test_two_spellings_of_a_name_are_one_name(word):
    forms = {check_artifact_name(unicodedata.normalize(form, word)) for form in ("NFC", "NFD")}

    assert len(forms) == 1


@pytest.mark.parametrize("name", [3, None, b"x", ["x"]])
def test_name_that_is_no_text_is_a_type_error(name):
    with pytest.raises(TypeError):
        check_artifact_name(name)


@pytest.mark.parametrize("alias", ["3", "v3", "V12", "-1", "", " ", "a\nb", "x" * 257])
def test_alias_that_looks_like_a_number_or_is_no_name_is_refused(alias):
    with pytest.raises(InvalidNameError):
        check_alias(alias)


def event(**changes):
    said = {"name": "x", "token": "ab" * 16, "how": "copy", "size": 3, "spool": "/spool", "source": "/x"}
    return artifact_jobs.make(b"u" * 16, "run_1", "cd" * 16, 7, 1, {}, {**said, **changes})


@pytest.mark.parametrize(
    "token", ["../../etc/passwd", "", None, 7, "AB" * 16, "ab" * 15, "ab" * 16 + "/", "ab" * 16 + "\n"]
)
def test_event_whose_token_could_be_a_path_makes_no_job(token):
    with pytest.raises(FormatError):
        event(token=token)


def test_event_with_a_hostile_name_makes_no_job_or_a_safe_one(tmp_path):
    for name in HOSTILE_NAMES:
        try:
            job = event(name=name)
        except FormatError:
            continue

        assert stays_inside(job.name, tmp_path), ascii(name)


@pytest.mark.parametrize("wrong", [{"size": -1}, {"size": "3"}, {"size": True}, {"files": 0}, {"how": None}])
def test_event_with_an_impossible_size_makes_no_job(wrong):
    with pytest.raises(FormatError):
        event(**wrong)


@pytest.mark.parametrize("path", ["..", "../x", "/x", "a/../b", "a//b", "", ".", "a/", "a\0b"])
def test_path_in_a_manifest_may_not_lead_out(path):
    with pytest.raises(FormatError):
        check_relative(path)
    with pytest.raises(FormatError):
        decode(encode([ManifestEntry(path, 1, "0" * 64)]))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"format": 2, "files": []}', b'{"format": 1, "files": [{}]}']
)
def test_what_is_no_manifest_is_a_format_error(data):
    with pytest.raises(FormatError):
        decode(data)

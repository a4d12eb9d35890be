"""The files and folders that documents name are in the tree."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "neural/tracking/README.md", "changelog.d/README.md")
# The top folders of the repository; paths of run folders and of users start with other names.
PATH = re.compile(r"(?:agent|benchmarks|changelog\.d|collector|docs|examples|neural|sinks|tests)/[\w./-]*\w/?")


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
)
def test_path_named_in_a_document_is_there(document):
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    named = {
        path
        for code in re.findall(r"`([^`\n]+)`", text)
        for path in PATH.findall(code)
        if code.startswith(path) and not set(code) & set("<>*…")
    }

    missing = sorted(path for path in named if not (ROOT / path).exists())

    assert missing == []

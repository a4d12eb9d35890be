"""docs/architecture.md against the sources: the tree, the words of names, the imports between layers."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "neural" / "tracking"
LINKED = ("agent", "collector", "sinks")
BACKENDS = {"mlflow", "wandb", "tensorboard"}
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def sources():
    """Return every source file, as a path from the root, without those that the links show again."""
    own = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in LINKED]
    own += [path for part in LINKED for path in (ROOT / part).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in own)


def layers():
    """Return {folder or file: (layer, forbidden imports)} of the table."""
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|([^|]*)\|$", section("Layers"), re.M)
    return {
        place: (int(layer), {part.strip() for part in barred.split(",")} - {""})
        for layer, place, barred in rows
    }


LAYERS = layers()


def home(path):
    """Return the row of a file: the longest folder or file of the table that contains it."""
    rows = [row for row in LAYERS if path == row or (row.endswith("/") and path.startswith(row))]
    assert rows, f"{path} has no row in the table of layers"
    return max(rows, key=len)


def imported_modules(path):
    """Yield every absolute dotted name that a file imports; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse((ROOT / path).read_bytes(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: it runs under two names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name):
    """Return the source file of an imported name; None for other packages and the package itself."""
    parts = name.split(".")
    if parts[:2] != ["neural", "tracking"] or name in ("neural.tracking", "neural.tracking.__version__"):
        return None
    inner = parts[2:]
    while inner:
        place = ROOT.joinpath(*inner) if inner[0] in LINKED else PACKAGE.joinpath(*inner)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file.relative_to(ROOT).as_posix()
        inner.pop()
    return "neural/tracking/__init__.py"


def tree():
    """Return the files of the drawn tree."""
    files, folder = set(), ""
    for line in section("Source tree").split("```")[1].splitlines():
        if line and not line.startswith(" "):
            folder = line.split()[0]
        else:
            files |= {f"{folder}{stem}.py" for stem in line.split()}
    return files


@pytest.mark.parametrize("path", sources())
def test_file_imports_only_from_lower_layers(path):
    row = home(path)
    layer, barred = LAYERS[row]

    wrong = set()
    for name in imported_modules(path):
        target = file_of(name)
        if target is None or home(target) == row:
            continue
        parts = set(target.removeprefix("neural/tracking/").removesuffix(".py").split("/"))
        if LAYERS[home(target)][0] >= layer or parts & barred:
            wrong.add(name)

    assert not wrong, f"{path} is in layer {layer} ({row}) and imports {sorted(wrong)}"


def test_every_row_of_the_layers_exists():
    assert [row for row in LAYERS if not (ROOT / row).exists()] == []


def test_tree_has_every_file_and_no_other():
    assert tree() == {path for path in sources() if not path.endswith("__init__.py")}


def test_names_of_files_and_folders_are_words_of_the_glossary():
    glossary = section("Glossary")
    known = set(re.findall(r"`?([a-z]+)`?", " ".join(re.findall(r"^\|(.*)\|$", glossary, re.M))))
    known |= set(glossary.split("Ordinary words in names:")[1].replace(".", "").replace(",", "").split())

    used = {word for path in sources() for word in re.findall("[a-z]+", path.removesuffix(".py"))}

    assert {word for word in used if not {word, word.removesuffix("s")} & known} == set()


def test_backends_are_imported_by_sinks_only():
    importers = {
        path
        for path in sources()
        if not path.startswith("sinks/") and BACKENDS & {name.split(".")[0] for name in imported_modules(path)}
    }

    assert importers == set()

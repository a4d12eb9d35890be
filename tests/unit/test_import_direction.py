"""Who may import whom: the table of docs/architecture.md, read from the sources' import statements.

Imports inside functions and under TYPE_CHECKING count too: they couple just as well.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "neural" / "tracking"
PARTS = ("agent", "collector", "sinks")

# The public face. Everything else in neural/tracking is the floor that all parts stand on.
FACE = {
    "__init__",
    "experiment_tracker",
    "tracker",
    "manager",
    "api",
    "comparison_ui",
    "ui",
    "integrations",
    "cli",
}
# Also the agent, the collector or the sinks, beside what every module of the face may import.
FACE_MAY_ALSO = {
    "__init__": {"agent"},
    "tracker": {"agent"},
    "manager": {"agent"},
    "api": {"agent"},  # it also starts a collector for an outbox that nobody empties
    "integrations": {"agent", "sinks"},
    "cli": {"agent", "collector", "sinks"},
}
MAY_IMPORT = {
    "floor": {"floor"},
    "agent": {"floor", "agent"},
    "collector": {"floor", "collector", "sinks"},
    "sinks": {"floor", "sinks"},
}
BACKENDS = {"mlflow", "wandb", "tensorboard"}


def sources():
    yield from sorted((p, "floor_or_face") for p in PACKAGE.rglob("*.py") if not is_linked(p))
    for part in PARTS:
        yield from sorted((p, part) for p in (ROOT / part).rglob("*.py"))


def is_linked(path):
    return path.relative_to(PACKAGE).parts[0] in PARTS


def module_in_package(path):
    """Return ``cli`` for both neural/tracking/cli.py and neural/tracking/cli/runs.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def part_of(module):
    """Return the part that an entry of neural.tracking belongs to."""
    if module in PARTS:
        return module
    return "face" if module in FACE else "floor"


def imported_modules(path):
    """Yield every absolute dotted name that a file imports; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)} imports relatively: it runs under two names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path):
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[:2] != ["neural", "tracking"]:
            continue
        if len(parts) == 2:
            continue  # where the package lies, which its parts ask when they start a process
        first = parts[2]
        if first == "__version__":
            continue  # a constant of the package itself, there before anything is imported
        exists = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
        yield name, part_of(first if exists else "__init__")


def allowed_parts(path, part):
    if part != "floor_or_face":
        return MAY_IMPORT[part]
    module = module_in_package(path)
    if part_of(module) == "floor":
        return MAY_IMPORT["floor"]
    return {"floor", "face"} | FACE_MAY_ALSO.get(module, set())


@pytest.mark.parametrize(
    ("path", "part"), [pytest.param(*s, id=str(s[0].relative_to(ROOT))) for s in sources()]
)
def test_file_imports_only_what_its_folder_may(path, part):
    allowed = allowed_parts(path, part)

    wrong = {name for name, where in imported_parts(path) if where not in allowed}

    assert not wrong, f"{path.relative_to(ROOT)} may import {sorted(allowed)}, not {sorted(wrong)}"


def test_backends_are_imported_by_sinks_only():
    importers = {
        path.relative_to(ROOT).as_posix()
        for path, part in sources()
        if part != "sinks" and BACKENDS & {name.split(".")[0] for name in imported_modules(path)}
    }

    assert importers == set()

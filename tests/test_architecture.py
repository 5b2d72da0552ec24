"""The README's tree is true: it lists every folder, and a folder imports only from those above its own line."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lthjax", "experiments")


def floors():
    """Folder or top-level module -> its line in the README's tree, from the top; what is below may import it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("## Where things are") :]
    names = re.findall(r"^\| `((?:lthjax|experiments)[\w/]*)(?:\.py|/)` ", tree, flags=re.MULTILINE)
    return {name.replace("/", "."): place for place, name in enumerate(names)}


def modules():
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    """The line of the tree that a module belongs to."""
    return ".".join(module.split(".")[:2])


def imports(path):
    """Modules of this project that a file imports, in whatever form and wherever in it.

    Raises:
      AssertionError: an import that leads to no module of the project, or is relative.
    """
    imported = set()
    known = {name_of(module) for module in modules()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [node.module if node.module in known and not is_package(node.module) else None]
            if names == [None]:
                names = [node.module + "." + alias.name for alias in node.names]
                names = [name if name in known else node.module for name in names]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                assert name in known, f"{path}: imports {name}, which is no module (line {node.lineno})"
                imported.add(name)
    return imported


def is_package(module):
    return ROOT.joinpath(*module.split(".")).is_dir()


def test_the_tree_lists_every_folder():
    assert set(floors()) == {room_of(name_of(path)) for path in modules()} - set(PACKAGES)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_come_from_above(path):
    known, own = floors(), room_of(name_of(path))
    for imported in imports(path) - set(PACKAGES):  # `import lthjax` is what users do: experiments and notebooks
        room = room_of(imported)
        if room != own:
            assert known[room] < known[own], f"{name_of(path)} imports {imported}, which is below it in the tree"
    if own.startswith("lthjax."):
        assert "lthjax" not in imports(path)


def test_no_circle_within_a_folder():
    within = {name_of(path): {i for i in imports(path) if room_of(i) == room_of(name_of(path))} for path in modules()}
    done = set()
    while ready := {name for name, needs in within.items() if name not in done and needs <= done | {name}}:
        done |= ready
    assert done == set(within), f"a circle among {sorted(set(within) - done)}"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("import lthjax.data.split", {"lthjax.data.split"}),
        ("import numpy, lthjax.errors as e", {"lthjax.errors"}),
        ("from lthjax.data import split, catalog", {"lthjax.data.split", "lthjax.data.catalog"}),
        ("from lthjax.data.split import Split", {"lthjax.data.split"}),
        ("from lthjax import presets", {"lthjax.presets"}),
        ("from lthjax.plots import save", {"lthjax.plots"}),
        ("def f():\n    from lthjax.search import imp", {"lthjax.search.imp"}),
        ("if x:\n    import experiments.cli", {"experiments.cli"}),
        ("import numpy as np", set()),
    ],
)
def test_every_form_of_import_is_seen(tmp_path, line, wanted):
    tmp_path.joinpath("code.py").write_text(line)
    assert imports(tmp_path / "code.py") == wanted


@pytest.mark.parametrize("line", ["import lthjax.jobs", "from lthjax.nowhere import x", "from . import data"])
def test_an_unknown_import_fails(tmp_path, line):
    tmp_path.joinpath("code.py").write_text(line)
    with pytest.raises(AssertionError):
        imports(tmp_path / "code.py")

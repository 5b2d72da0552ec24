"""The README's file tree is true: it lists every module, and a module imports only from floors below its own."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def floors():
    """Module -> floor, from the README's table."""
    found, floor = {}, 0
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and re.search(r"`\S+\.py`", cells[2]):
            floor = int(cells[1]) if cells[1] else floor
            folder = re.search(r"`(\w+)/", cells[2])[1]
            for name in re.findall(r"(\w+)\.py`", cells[2]):
                found[f"{folder}.{name}"] = floor
    return found


def imports(path):
    """Modules of this project that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("lthjax", "experiments"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("lthjax.", "experiments.")):
            found.add(node.module)
    return found


def modules():
    return sorted(path for folder in ("lthjax", "experiments") for path in (ROOT / folder).glob("*.py"))


def test_the_tree_lists_every_module():
    there = {f"{path.parent.name}.{path.stem}" for path in modules() if path.stem != "__init__"}
    assert set(floors()) == there


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_come_from_below(path):
    known = floors()
    own = known.get(f"{path.parent.name}.{path.stem}", 0)
    for imported in imports(path):
        if imported in known:
            assert known[imported] < own, f"{path.name} (floor {own}) imports {imported} (floor {known[imported]})"

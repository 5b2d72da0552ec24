"""The notebooks run from top to bottom, and are committed as a run left them."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDS = {  # hnswlib wants a compiler, so that the extra `test` does not bring it
    "08_a_ticket_elsewhere": ("safetensors", "faiss", "hnswlib"),
    "09_a_table_trained_elsewhere": ("implicit",),
    "10_tune_then_prune": ("optuna",),
    "11_follow_a_run": ("tensorboardX", "tensorboard", "wandb"),
}


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_they_are_there():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, 12)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_committed_with_the_outputs_of_one_run(path):
    """In order, without errors, notes on standard error, or places on somebody's machine."""
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        shown = {kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"}
        text = "".join(map(str, [output.get("text", ""), *shown.values()]))
        assert not re.search(r"(^|[\s'\"(>])/\w+/|[A-Z]:\\", text)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path, tmp_path, monkeypatch):
    """A cell that fails raises; where they run they leave nothing, their own temporary folders aside."""
    for package in NEEDS.get(path.stem, ()):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lthjax[{package}]'")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name, folder in (("TMPDIR", "tmp"), ("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    here = tmp_path / "here"
    here.mkdir()
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(here)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    assert list(here.iterdir()) == []

"""The README's Python runs word for word, in its order, in a fresh folder; but for smaller settings."""

import re
from pathlib import Path

import pytest

import lthjax

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_of_the_readme(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == README.count("```python")
    monkeypatch.chdir(tmp_path)
    original = lthjax.find_tickets

    def smaller(data, **options):
        size = {"dim": options["dense"].settings.dim if "dense" in options else 8}
        return original(data, epochs=2, eval_every=1, **(size | options))

    monkeypatch.setattr(lthjax, "find_tickets", smaller, raising=False)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    said = capsys.readouterr().out
    told = [line.split(",")[0] for line in said.splitlines() if line.startswith("Ticket(")]
    assert (told.count("Ticket(level 7"), told.count("Ticket(level 9")) == (2, 1)  # runs of 7 levels, and of 9
    assert "tabular" in said
    assert (tmp_path / "ticket.npz").stat().st_size > 0

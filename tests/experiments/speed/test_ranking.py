"""Ranking beside PyTorch's: the same recall on both sides."""

import numpy as np
import pytest

from experiments.speed import pytorch, ranking, ranking_sides
from lthjax.errors import LthjaxError


def test_ranking(read_json, assert_are_summaries, tmp_path, capsys):
    """On MovieLens, in blocks of which the last is short; the embeddings give hits that can differ."""
    path = tmp_path / "ranking.json"
    content = ranking.main(ranking.Config(dim=2, repeats=2, block_size=256, json=str(path)))
    written = read_json(path, content)
    assert {"lthjax", "lthjax, product alone"} <= written["seconds"].keys()
    assert_are_summaries(written["seconds"].values(), 2)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("lthjax is ") if "PyTorch" in written["seconds"] else last == pytorch.NOT_HERE
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'lthjax[peers]'")
    assert written["recall"]["users_apart"] == 0
    assert abs(written["recall"]["lthjax"] - written["recall"]["PyTorch"]) < 1e-6
    assert written["recall"]["lthjax"] > 0.005  # some hits are there
    assert set(written["block_sizes"].values()) == {256}


def test_other_recall_is_an_error():
    ours = np.linspace(0, 1, 20_000)
    assert ranking_sides.check_same_recall(ours, ours)["users_apart"] == 0
    one_apart = ours + (np.arange(20_000) == 7) * 0.1
    assert ranking_sides.check_same_recall(ours, one_apart)["users_apart"] == 1
    with pytest.raises(LthjaxError, match="20,000 of 20,000 users differ"):
        ranking_sides.check_same_recall(ours, ours + 0.1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [("--block-size -1", "--block-size: wanted 0 or more; got -1;"), ("--seed x", "--seed")],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said in error_line(ranking, flags)

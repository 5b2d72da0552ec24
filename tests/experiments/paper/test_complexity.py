"""Complexity: counts of the runs of figure 2, of LightGCN's layers, and how they are told."""

from types import SimpleNamespace

import numpy as np
import pytest

import lthjax
from experiments.paper import complexity
from lthjax import plots
from lthjax.settings import Settings


def test_it_counts_the_runs_of_figure2(trained, forbid_training, tmp_path, capsys):
    forbid_training()
    rows = complexity.main(trained)
    assert [row["level"] for row in rows] == [0, 1, 2]
    dense, last = rows[0], rows[-1]
    assert (dense["largest_user"], dense["mean_item"], dense["dead_item"], dense["scoring"]) == (4, 4, 0, 160)
    assert dense["scoring_dense"] == dense["scoring_bound"] == 160
    assert (dense["bytes_dense"], dense["bytes_bitmap"], dense["smallest"]) == (4 * 280, 4 * 280 + 70, "dense")
    assert last["bytes_bitmap"] == 4 * last["num_kept"] + 70
    assert 30 * last["mean_user"] + 40 * last["mean_item"] == pytest.approx(last["num_kept"])
    assert last["scoring"] <= last["scoring_bound"]
    assert last["num_seeds"] == 2
    assert not complexity.products_of(last)
    text = (tmp_path / "complexity" / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert f"min(F*_u, F*_i) is F = 4 up to {max(r['sparsity'] for r in rows if r['scoring_bound'] == 160):.1%}" in text
    assert (tmp_path / "complexity" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_lightgcn(data):
    """Layer 1 multiplies the sparse table; what it makes is fuller, and so are the final embeddings."""
    split = lthjax.load_split(None, Settings(data=data))
    draws = np.random.default_rng(0)
    masks = lthjax.Embeddings(*(draws.random((rows, 4)) < 0.3 for rows in (30, 40)))
    settings = Settings(model="lightgcn", layers=2)
    got = complexity.counted(SimpleNamespace(masks=masks, settings=settings), split)
    degree = np.bincount(split.train[:, 0], minlength=30), np.bincount(split.train[:, 1], minlength=40)
    assert got["layer_1"] == sum((mask.sum(axis=1) * count).sum() for mask, count in zip(masks, degree, strict=True))
    assert got["layer_dense"] == 2 * len(split.train) * 4
    assert got["layer_1"] < got["layer_2"] <= got["layer_dense"]
    assert got["nonzero_layer_0"] == sum(mask.sum() for mask in masks) / 280
    assert got["nonzero_layer_0"] < got["nonzero_layer_1"] <= got["nonzero_layer_2"]
    alone = complexity.counted(SimpleNamespace(masks=masks, settings=Settings(model="mf", layers=2)), split)
    assert alone["scoring"] == masks.user.sum(axis=0) @ masks.item.sum(axis=0) / 30 < got["scoring"]
    assert "layer_dense" not in alone


def test_it_draws_and_tells_both_models(make_study, tmp_path):
    row = {"data": "x", "model": "mf", "sparsity": 0.0, "dim": 4, "smallest": "dense", "bytes_dense": 80}
    row |= dict.fromkeys(("largest_user", "largest_item", "mean_user", "mean_item"), 4.0)
    row |= {"dead_user": 0, "dead_item": 0, "bytes_csr": 90, "bytes_csr_int32": 160, "bytes_bitmap": 85}
    row |= {"scoring": 40, "scoring_dense": 40, "scoring_bound": 40}
    pruned = {"sparsity": 0.5, "largest_user": 3.0, "smallest": "bitmap", "bytes_bitmap": 44, "scoring": 10}
    layers = {"model": "lightgcn", "layer_dense": 200, "layer_1": 50, "layer_2": 190, "nonzero_layer_0": 0.5}
    rows = [row, row | pruned, row | layers, row | layers | pruned]
    text = complexity.text_of(make_study(), rows)
    assert "| x | LightGCN | 50.0% | 3.0 | 4.0 |" in text
    assert "| 25.0% | 100.0% | 25.0% | 95.0% |" in text
    assert "| 25.0% | 100.0% |  |  |" in text  # MF has no layers
    assert "The smallest form is dense from 0.0% on, bitmap + values from 50.0% on; at 50.0% it takes 55.0%" in text
    assert "The products of layers 1 to 2 take 25.0%, 95.0% of theirs." in text
    plots.save(tmp_path / "figure.png", complexity.drawing_of(rows))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

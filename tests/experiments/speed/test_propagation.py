"""Ways of multiplying with the adjacency: they give the same."""

import jax.numpy as jnp
import pytest

from experiments.speed import propagation, propagation_sides
from experiments.speed.propagation_sides import Side
from lthjax.errors import LthjaxError


def test_propagation(data, read_json, assert_are_summaries, tmp_path, capsys):
    path = tmp_path / "propagation.json"
    content = propagation.main(propagation.Config(data=data, dim=3, layers=2, repeats=2, json=str(path)))
    written = read_json(path, content, data)
    names = {"propagate", "BCOO", "segment-sum", "buckets", "segment-sum, bfloat16", "buckets, bfloat16"}
    assert names <= set(written["seconds"])
    assert_are_summaries(written["seconds"].values(), 2)
    assert all(written["differences"][name] < 1e-6 for name in names if "bfloat16" not in name)
    assert 1e-6 < written["differences"]["buckets, bfloat16"] < 1e-2
    assert capsys.readouterr().out.splitlines()[-1].startswith("propagate is ")


def test_a_wrong_product_is_an_error():
    sides = {"propagate": Side(lambda x: x), "other": Side(lambda x: 1.01 * x)}
    with pytest.raises(LthjaxError, match="wanted other equal to propagate"):
        propagation_sides.check_equal(sides, jnp.ones((3, 2)))

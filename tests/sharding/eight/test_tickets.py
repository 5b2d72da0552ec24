"""Tickets that are found on eight devices are those of one: masks, weights, best epochs, metrics, verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lthjax
from lthjax.search import executor

CASES = {
    "mf": {},
    "mf, L2 on final rows": {"l2": 0.01, "l2_on": "propagated"},
    "mf, sgd": {"optimizer": "sgd", "learning_rate": 0.5, "l2": 0.01},  # Adam would hide a gradient 8 times too large
    "mf, negatives": {"negatives": 4, "loss": "sampled-softmax", "negative_sampling": "popularity"},
    "lightgcn": {"model": "lightgcn", "l2": 0.01},
    "lightgcn, sgd": {"model": "lightgcn", "optimizer": "sgd", "learning_rate": 0.5, "l2": 0.01},
    "lightgcn, negatives": {"model": "lightgcn", "negatives": 3, "l2": 0.01},
    "lightgcn, L2 on final rows": {"model": "lightgcn", "l2": 0.01, "l2_on": "propagated"},
    "epoch": {"rewind": "epoch:1", "optimizer": "adamw"},
    "none": {"rewind": "none"},
    "lr": {"rewind": "lr", "prune_from": "last"},
    "reinit": {"rewind": "reinit", "init": "normal-0.1"},
    "one-shot": {"search": "one-shot", "prune_by": "random-by-degree"},
    "random": {"prune_by": "random"},
    "by row": {"prune_scope": "row", "min_per_row": 1},
    "short": {"search": "short", "search_epochs": 1, "prune_by": "movement"},
    "early": {"search": "early", "search_epochs": 2},
    "gradual": {"search": "gradual", "search_epochs": 2},
    "dynamic": {"search": "dynamic", "search_epochs": 2},
    "users": {"sampler": "users", "metrics": "ndcg,coverage,recall"},
}


@pytest.fixture(scope="module")
def find(tastes, quick):
    return lambda **changes: list(lthjax.find_tickets(tastes, **quick | {"levels": 2} | changes))


def assert_alike(one, other, tolerance=0.0):
    assert (one.level, one.best_epoch, one.epochs) == (other.level, other.best_epoch, other.epochs)
    assert one.verdict == other.verdict
    assert one.metrics == other.metrics
    for name in ("masks", "start", "trained", "origin", "final"):
        parts = jax.tree.leaves(getattr(one, name)), jax.tree.leaves(getattr(other, name))
        for a, b in zip(*parts, strict=True):
            assert np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0) <= tolerance, name


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_tickets_are_equal_to_the_bit(find, mesh, changes):
    pairs = list(zip(find(**changes), find(mesh=mesh, **changes), strict=True))
    for one, other in pairs:
        assert_alike(one, other)
    assert pairs[-1][0].sparsity == pairs[-1][1].sparsity > 0
    assert all(isinstance(part, np.ndarray) for part in pairs[0][1].trained)  # on no device


@pytest.mark.parametrize("num_devices", [1, 2, 4])
@pytest.mark.parametrize("changes", [{}, {"model": "lightgcn", "l2": 0.01, "negatives": 3}], ids=["mf", "lightgcn"])
def test_so_are_those_of_fewer_devices(find, changes, num_devices):
    """A shard of two devices is higher here than the whole table."""
    for one, other in zip(find(**changes), find(mesh=lthjax.mesh(num_devices), **changes), strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_population_is_equal_to_rounding(find, mesh, model):
    changes = {"seeds": 2, "together": True, "model": model}
    tickets = zip(find(**changes), find(mesh=mesh, **changes), strict=True)
    for one, other in tickets:
        assert one.settings.seed == other.settings.seed
        for a, b in zip(one.trained, other.trained, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_what_is_given_in_code_is_equal_to_rounding(find, mesh):
    def loss(final, layer0, batch):
        user, difference = final.user[batch.user], final.item[batch.positive] - final.item[batch.negative]
        return jnp.mean(batch.weight * jax.nn.softplus(-jnp.sum(user * difference, axis=1)))

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    changes = {"loss": loss, "optimizer": optimizer}
    for one, other in zip(find(**changes), find(mesh=mesh, **changes), strict=True):
        for a, b in zip(one.trained, other.trained, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_backbone_that_multiplies_the_matrix_itself_is_refused(find, mesh):
    def backbone(layer0, graph):
        joint = graph.adjacency @ jnp.concatenate(layer0)
        return type(layer0)(joint[: graph.num_users], joint[graph.num_users :])

    with pytest.raises(lthjax.SettingsError, match=r"backbone: wanted one that multiplies by `propagate`"):
        find(mesh=mesh, backbone=backbone)


@pytest.mark.parametrize("first", ["eight", "one"])
def test_a_run_goes_on_with_another_number_of_devices(find, mesh, tmp_path, rows_of, first):
    meshes = {"eight": mesh, "one": None}
    settings = {"prune_from": "last", "model": "lightgcn"}
    find(out=tmp_path / "whole", **settings)
    find(out=tmp_path / "parts", mesh=meshes[first], **settings | {"levels": 1})
    other = meshes["one" if first == "eight" else "eight"]
    find(out=tmp_path / "parts", mesh=other, **settings)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_a_finished_level_trains_on_with_another_number_of_devices(find, mesh, tmp_path, rows_of, log_of):
    settings = {"rewind": "none", "prune_from": "last", "levels": 0, "eval_every": 1}
    find(out=tmp_path / "whole", **settings | {"levels": 1, "epochs": 4})
    find(out=tmp_path / "parts", **settings | {"epochs": 2})
    find(out=tmp_path / "parts", mesh=mesh, **settings | {"epochs": 3})
    find(out=tmp_path / "parts", mesh=lthjax.mesh(2), **settings | {"levels": 1, "epochs": 4})
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")


def test_a_search_of_more_levels_goes_on_from_what_eight_devices_kept(find, mesh, tmp_path, rows_of):
    settings = {"search": "short", "search_epochs": 1}
    find(out=tmp_path / "whole", **settings | {"levels": 3})
    find(out=tmp_path / "parts", mesh=mesh, **settings)
    find(out=tmp_path / "parts", mesh=mesh, **settings | {"levels": 3})
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


@pytest.mark.parametrize("first", ["eight", "one"])
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_level_in_work_goes_on_with_another_number_of_devices(
    find, mesh, tmp_path, rows_of, log_of, interrupting, model, first
):
    settings = {"model": model, "epochs": 5, "eval_every": 1, "save_seconds": 0}
    find(out=tmp_path / "whole", **settings)
    now, then = (mesh, None) if first == "eight" else (None, mesh)
    with interrupting(lambda name, epoch: "level 1" in name and epoch == 2), pytest.raises(KeyboardInterrupt):
        find(out=tmp_path / "parts", mesh=now, **settings)
    assert list((tmp_path / "parts" / "snapshots").iterdir())
    find(out=tmp_path / "parts", mesh=then, **settings)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")


def test_a_search_goes_on_with_another_number_of_devices(find, mesh, tmp_path, rows_of, monkeypatch):
    settings = {"search": "short", "search_epochs": 1, "save_seconds": 0}
    find(out=tmp_path / "whole", **settings)
    stretch, calls = executor._stretch, []

    def stretch_twice(tasks, teller):
        calls.extend(tasks)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return stretch(tasks, teller)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(executor, "_stretch", stretch_twice)
        find(out=tmp_path / "parts", mesh=mesh, **settings)
    assert list((tmp_path / "parts" / "snapshots").glob("search-*"))
    find(out=tmp_path / "parts", **settings)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")

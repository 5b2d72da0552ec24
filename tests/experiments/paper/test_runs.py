"""Runs that studies share: their folders, their tickets, and results on disk, those of older versions too."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import find_tickets
from experiments.paper import runs
from experiments.paper.runs import Runs
from lthjax.runtime import checkpoint
from lthjax.settings import from_record
from lthjax.tickets import result as resulting

# Every setting, so that the names of folders do not follow the defaults.
SETTINGS = from_record(
    {
        **{"preset": "none", "data": "a/few.txt", "format": "auto", "columns": None, "min_rating": None},
        **{"items_after_users": False, "split": "random", "split_seed": 0, "model": "lightgcn", "dim": 8, "layers": 3},
        **{"combine": "mean", "init": "xavier", "levels": 14, "prune_rate": 0.1, "sparsities": "0.5,0.75"},
        **{"prune_parent": "previous", "prune_by": "random", "prune_scope": "joint", "min_per_row": 0},
        **{"prune_from": "best", "prune_count": "exact", "rewind": "lr", "epochs": 200, "patience": 30},
        **{"eval_every": 5, "batch_size": 2048, "learning_rate": 0.003, "l2": 0.01, "l2_form": "squared"},
        **{"l2_on": "layer0", "sampler": "interactions", "selection": "valid", "test_mask": "train+valid", "seed": 3},
    }
)


def test_folders_have_the_names_of_runs_on_disk(make_study, tmp_path):
    of_variant = Runs(make_study(), SETTINGS, SimpleNamespace(name="any"))
    assert of_variant.folder == tmp_path / "runs" / "few-lightgcn-ac97a4ad"
    assert of_variant.dense_folder == tmp_path / "runs" / "dense-few-lightgcn-7bb5f7ba"
    assert of_variant.rivals_folder == tmp_path / "runs" / "rivals-few-lightgcn-ac97a4ad"
    assert runs.name_of(dataclasses.replace(SETTINGS, seed=4)) == "few-lightgcn-ac97a4ad"
    assert list(of_variant.seeds) == [3, 4]
    main_job = find_tickets.Config(**dataclasses.asdict(SETTINGS))
    assert find_tickets.default_out(main_job) == "runs/few-lightgcn-f08ff52b"


def test_splits_made_in_code_have_folders_of_their_own(make_study):
    unnamed = dataclasses.replace(SETTINGS, data=None)
    folders = [
        Runs(make_study(), unnamed, SimpleNamespace(name=name)).folder.name
        for name in ("few with all support", "few without new users")
    ]
    assert folders[0] == "few-with-all-support-lightgcn-866414c6"
    assert folders[1].startswith("few-without-new-users-lightgcn-")


def test_dense_models_are_one_for_all_ways_to_prune():
    changes = {"levels": 3, "prune_rate": 0.3, "sparsities": None, "prune_scope": "row", "min_per_row": 1}
    other = dataclasses.replace(SETTINGS, **changes, prune_by="magnitude", prune_count="threshold", rewind="init")
    assert runs.dense_alone(other) == runs.dense_alone(SETTINGS)
    assert (runs.dense_alone(other).num_levels, runs.dense_alone(other).rewind) == (0, "none")
    assert runs.dense_alone(dataclasses.replace(other, prune_from="last")) != runs.dense_alone(other)
    assert runs.dense_alone(dataclasses.replace(other, dim=16)) != runs.dense_alone(other)


def test_tickets_come_one_by_one_and_are_those_of_the_results(trained, data, forbid_training):
    forbid_training()
    of_study = runs.runs_of(trained, data, "mf")
    results, tickets = of_study.results(), of_study.tickets()
    assert iter(tickets) is tickets
    for seed, level in itertools.product(range(2), range(3)):
        ticket, result = next(tickets), results[seed][level]
        assert (ticket.settings.seed, ticket.level) == (seed, level)
        assert ticket.num_kept == result.num_kept == sum(int(mask.sum()) for mask in ticket.masks)
        np.testing.assert_array_equal(ticket.per_user["recall@20"], result.per_user["recall@20"])
    assert next(tickets, None) is None


@pytest.fixture
def old_row():
    """The row of another method as the first versions wrote it."""
    return {
        **{"method": "LCM", "level": "", "sparsity": 0.5, "num_kept": 70, "valid_recall@20": 0.25, "recall@20": 0.5},
        **{"ndcg@20": 0.125, "best_epoch": 2, "epochs": 4, "seconds": 1.5, "verdict": "worse", "difference": -0.1},
        **{"interval_low": -0.2, "interval_high": -0.05, "selection": "valid", "settings": "defaults", "note": "half"},
    }


def test_results_that_older_versions_left_are_read(tmp_path, old_row):
    metrics = {name: old_row[name] for name in ("recall@20", "ndcg@20", "valid_recall@20")}
    facts = {"row": old_row, "sparsity": 0.5, "best_epoch": 2, "metrics": metrics}
    checkpoint.save(tmp_path / "LCM-0.5", {"recall@20": np.array([0.25, 0.75], np.float32)}, facts)
    result = runs.kept_on_disk(tmp_path / "LCM-0.5", lambda: pytest.fail("made anew"))
    assert {name: result.row()[name] for name in old_row} == old_row
    assert result.metrics == metrics
    assert result.per_user["recall@20"].tolist() == [0.25, 0.75]


def test_a_result_is_made_once_and_laid_down(tmp_path, old_row):
    metrics = {"recall@20": 0.5, "ndcg@20": 0.125, "valid_recall@20": 0.25}
    made = resulting.from_row(old_row, metrics, {"recall@20": np.array([0.5], np.float32)})
    for make in (lambda: made, lambda: pytest.fail("made anew")):
        kept = runs.kept_on_disk(tmp_path / "LCM-0.5", make)
        assert json.dumps(kept.row()) == json.dumps(made.row())
        assert (kept.metrics, kept.sparsity, kept.best_epoch) == (metrics, 0.5, 2)

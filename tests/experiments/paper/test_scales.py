"""Scales: which settings they stand for, and how these are told."""

import pytest

from experiments.paper import scales
from experiments.paper.scales import Study
from lthjax.errors import SettingsError


def test_the_settings_under_a_table_are_those_that_ran(make_study):
    few, own = make_study(data=("tiktok-clickbait",), scale="cpu"), "batch_size 8192, learning_rate 0.005, l2 0.05"
    assert "(defaults but for sparsities 0.271," in scales.in_words(few)
    assert scales.in_words(few, ["prune_rate"]) == f"scale cpu (defaults but for {own}), 2 seeds"
    assert f"sparsities 0.5, {own}" in scales.in_words(few, sparsities="0.5")
    assert scales.in_words(make_study(data=("x",), scale="cpu", seeds=1)) == "scale cpu (defaults), 1 seed"


def test_settings_of_several_data_sets_are_told_one_by_one(make_study):
    both = make_study(data=("x/y.txt", "tiktok-clickbait"), scale="cpu")
    assert scales.in_words(both, ["sparsities"]) == (
        "scale cpu (y, MF: defaults; tiktok-clickbait, MF: defaults but for batch_size 8192, learning_rate 0.005, "
        "l2 0.05), 2 seeds"
    )


def test_a_change_of_how_much_is_pruned_replaces_few_levels(make_study):
    few = make_study(data=("kuairand",), scale="cpu")
    assert scales.settings_of(few, "kuairand", "mf").num_levels == 5
    assert scales.settings_of(few, "kuairand", "mf", levels=3).num_levels == 3
    assert scales.settings_of(few, "kuairand", "mf", dim=8).num_levels == 5
    assert scales.has_few_levels(few, "kuairand", "mf")
    assert not scales.has_few_levels(make_study(), "kuairand", "mf")


def test_bad_flags():
    with pytest.raises(SettingsError, match="--seeds: wanted at least 1; got 0"):
        Study(seeds=0)
    with pytest.raises(SettingsError, match="wanted at least one of --data and of --models; got none"):
        Study(models=())


def test_data_sets_of_one_name_are_refused():
    with pytest.raises(SettingsError, match=r"different names; got a/few\.txt, b/few\.txt"):
        Study(data=("a/few.txt", "b/few.txt"))


def test_results_of_other_scales_seeds_data_and_models_have_folders_of_their_own(tmp_path):
    """None lies under another, and those of `reproduce`, which names its folder, are where they have always been."""

    def place(**flags):
        study = Study(**({"out": "x", "data": ("ml-latest-small",)} | flags))
        return scales.results_folder(study, "figure2").as_posix()

    places = [
        place(),
        place(seeds=3),
        place(scale="cpu"),
        place(models=("mf",)),
        place(data=("a/few.txt",)),
        place(data=("a/few.txt",), models=("lightgcn",)),
    ]
    assert places == [
        "x/quick-1-seeds/figure2",
        "x/quick-3-seeds/figure2",
        "x/cpu-1-seeds/figure2",
        "x/quick-1-seeds/figure2-mf",
        "x/quick-1-seeds/figure2-few",
        "x/quick-1-seeds/figure2-few-lightgcn",
    ]
    assert place(results="x/quick-3-seeds/few-mf", seeds=3) == "x/quick-3-seeds/few-mf/figure2"

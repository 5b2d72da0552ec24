"""How many entries each level keeps, and what is rounded to."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthjax.errors import SettingsError
from lthjax.pruning.schedule import at_sparsity, num_kept_at, rate_of, roundings, rungs
from lthjax.settings import Settings


@pytest.mark.parametrize(
    ("sparsity", "size", "kept"),
    [(0.5, 64, 32), (0.75, 128, 32), (0.9, 10, 1), (0, 7, 7), (0.5, 33, 17), (0.5, 35, 17)],
)
def test_kept(sparsity, size, kept):
    count = at_sparsity(sparsity, size)
    assert count.kept == kept
    assert count.sparsity == pytest.approx(1 - kept / size)
    assert bool(count.note) == (size in (33, 35))  # 0.1 * 10 is not quite 1, but no one need hear of that


def test_the_note_says_what_it_rounds_to():
    wanted = "50.0% of 33 dimensions is no whole number (16.5): 16 fall, 48.4848%"
    assert at_sparsity(0.5, 33, "dimensions").note == wanted


@pytest.mark.parametrize("sparsity", [1, -0.1, 1.5, float("nan")])
def test_no_share(sparsity):
    with pytest.raises(SettingsError, match="wanted a share from 0 to below 1"):
        at_sparsity(sparsity, 10)


def test_something_must_be_left():
    with pytest.raises(SettingsError, match=r"leaves some of 1 dimensions; got 0\.75"):
        at_sparsity(0.75, 1, "dimensions")


def test_more_levels_than_entries():
    num_kept_at(Settings(levels=4, prune_rate=0.5), 16)  # 16, 8, 4, 2, 1
    with pytest.raises(SettingsError, match=r"--levels: wanted at most 4 prunings .* of 16 entries; got 5"):
        num_kept_at(Settings(levels=5, prune_rate=0.5), 16)
    with pytest.raises(SettingsError, match="wanted at most 0 prunings"):
        num_kept_at(Settings(levels=1, prune_rate=0.99), 2)


def test_schedules():
    settings = Settings(sparsities="0.5, 0.75")
    assert num_kept_at(settings, 10) == [10, 5, 2]  # 2.5 to the even one
    assert roundings(settings, 12) == []
    assert roundings(settings, 10) == ["75.0% of 10 entries is no whole number (7.5): 8 fall, 80.0000%."]
    with pytest.raises(SettingsError, match="which would keep 4 of 4"):
        num_kept_at(Settings(sparsities="0.6,0.61"), 10)


@pytest.mark.parametrize(
    ("changes", "level", "parent", "wanted"),
    [
        ({"sparsities": "0.5,0.75"}, 2, 1, 3 / 5),
        ({"sparsities": "0.5,0.75"}, 2, 0, 8 / 10),  # a search may prune any ticket for a level
        ({"sparsities": "0.5,0.75", "prune_parent": "dense"}, 2, 0, 8 / 10),
        ({"prune_rate": 0.2}, 2, 1, 0.2),
        ({"levels": 2, "prune_rate": 0.2}, 2, 0, 4 / 10),
        ({"levels": 2, "prune_rate": 0.2, "prune_parent": "dense"}, 2, 0, 4 / 10),
    ],
)
def test_the_rate_of_a_level(changes, level, parent, wanted):
    assert rate_of(Settings(**changes), level, parent, 10) == pytest.approx(wanted)


@given(st.lists(st.integers(10, 99_999), min_size=1, max_size=6, unique=True), st.floats(0.05, 0.5))
def test_rungs_lead_to_every_target(targets, rate):
    """In steps of about the rate; never up, and none is left out."""
    targets = sorted(targets, reverse=True)
    ways = rungs(targets, 100_000, rate)
    assert [way[-1] for way in ways] == targets
    counts = [100_000, *itertools.chain(*ways)]
    assert all(before >= after for before, after in itertools.pairwise(counts))
    for before, way in zip([100_000, *targets], ways, strict=False):
        step = (way[-1] / before) ** (1 / len(way))
        assert step >= (1 - rate) ** 1.5 or len(way) == 1


def test_rungs_by_hand():
    assert rungs([500, 250], 1000, 0.1) == [[906, 820, 743, 673, 610, 552, 500], [453, 410, 371, 336, 305, 276, 250]]
    assert rungs([], 1000, 0.1) == []
    assert rungs([999], 1000, 0.5) == [[999]]

import pytest

from lthjax.errors import SettingsError
from lthjax.pruning.schedule import at_sparsity


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
    with pytest.raises(SettingsError, match=r"leaves some of 1 dimensions; got 75\.0%"):
        at_sparsity(0.75, 1, "dimensions")

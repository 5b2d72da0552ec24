"""Tickets of the tiny data under ids of both kinds."""

import numpy as np
import pytest

from lthjax.data.split import Split
from lthjax.settings import Settings


@pytest.fixture(scope="module")
def split(tiny):
    """The tiny data with text for users and numbers for items."""
    names = np.array([f"user {letter}" for letter in "abcdefü"])
    return Split("tiny", names, np.arange(50, 61), (), tiny.train, tiny.valid, tiny.test)


@pytest.fixture(scope="module")
def ticket_of(tiny, split, some_masks, make_ticket):
    """A ticket of the tiny data; the keywords are settings."""
    return lambda **changes: make_ticket(split, Settings(dim=tiny.embedding_dim, **changes), some_masks, level=3)

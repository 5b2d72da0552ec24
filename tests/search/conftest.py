"""Searches on the data of two tastes, with one program for all of them."""

import pytest

import lthjax
from lthjax.search import problem as problems
from lthjax.settings import Settings


@pytest.fixture(scope="session")
def find(tastes, quick):
    """`find_tickets` with tiny settings; keywords change them: -> iterator over tickets."""
    return lambda **changes: lthjax.find_tickets(tastes, **(quick | changes))


@pytest.fixture(scope="session")
def found(find):
    """Four tickets of iterative magnitude pruning."""
    return list(find())


@pytest.fixture(scope="session")
def problem(tastes, quick):
    """What the executor gives a search."""
    settings = {name: value for name, value in quick.items() if name != "show_progress"}
    return problems.prepare(tastes, Settings(data=None, **settings))

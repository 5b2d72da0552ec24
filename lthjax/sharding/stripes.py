"""Which row of a table stands where: dealt into stripes, as cards are, so that each device has its share everywhere.

Letters: R rows of a table.
"""

from typing import Any

from lthjax.embeddings import Embeddings

STRIPES = 256
_BITS = STRIPES.bit_length() - 1


def heights(num_users: int, num_items: int) -> Embeddings:
    """Rows of each stripe of users and of items, never the same number.

    Of tables of one shape XLA divides the one by Adam's bias correction and multiplies the other with its inverse: then
    weights would differ from those of one device by a bit.
    """
    users, items = (-(-number // STRIPES) for number in (num_users, num_items))
    return Embeddings(users, items + (items == users))


def position(ids: Any, height: int) -> Any:
    """Where rows stand, of numbers as NumPy or JAX arrays.

    Args:
      ids: [...] numbers of rows.
      height: rows of a stripe.
    """
    return _reversed(ids % STRIPES) * height + ids // STRIPES


def id_at(positions: Any, height: int) -> Any:
    """The inverse of `position`; R or more where a row only fills up.

    Args:
      positions: [...] where rows stand.
      height: rows of a stripe.
    """
    return (positions % height) * STRIPES + _reversed(positions // height)


def _reversed(stripes: Any) -> Any:
    """Numbers below `STRIPES` with their bits in reverse order."""
    return sum(((stripes >> bit) & 1) << (_BITS - 1 - bit) for bit in range(_BITS))

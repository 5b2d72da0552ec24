"""What a sparse table costs: bytes stored, and multiply-adds of scoring and of propagation (paper, section 3.5).

Counts of what must be computed or stored, on the host; how long that takes on a machine is another question. Letters:
M users, N items, R rows, F dimensions, E training interactions, K layers, S entries kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from lthjax.embeddings import Embeddings

_VALUE = 4  # bytes of a float32


class StoredBytes(NamedTuple):
    """Bytes of one table in each form."""

    dense: int  # R F values
    csr_int32: int  # S values, S columns, R + 1 row starts, all of 4 bytes: SciPy's and JAX's
    csr: int  # the same with the smallest whole numbers that hold columns and starts
    bitmap: int  # S values and a bit an entry, each row filled up to whole bytes; row starts are counted from the bits


def stored_bytes(num_rows: int, embedding_dim: int, num_kept: int) -> StoredBytes:
    """Bytes of a table of R rows and F dimensions of which S entries are kept, in float32."""
    column = np.min_scalar_type(embedding_dim - 1).itemsize
    start = np.min_scalar_type(num_kept).itemsize
    return StoredBytes(
        dense=_VALUE * num_rows * embedding_dim,
        csr_int32=(_VALUE + 4) * num_kept + 4 * (num_rows + 1),
        csr=(_VALUE + column) * num_kept + start * (num_rows + 1),
        bitmap=_VALUE * num_kept + num_rows * -(-embedding_dim // 8),
    )


def stored_bytes_of(masks: Embeddings) -> StoredBytes:
    """Bytes of the user and the item table together."""
    tables = [stored_bytes(*np.shape(mask), int(np.count_nonzero(mask))) for mask in masks]
    return StoredBytes(*map(sum, zip(*tables, strict=True)))


def largest_row(mask: np.ndarray) -> int:
    """F* = max over rows of ||M_row||_0, the entries kept in the fullest row (paper, section 3.5)."""
    return int(np.count_nonzero(mask, axis=1).max())


def scoring(kept: Embeddings) -> float:
    """Multiply-adds of scoring all items for one user, averaged over users: sum_f u_f i_f / M.

    u_f and i_f are the users and the items that keep dimension f: only there do both factors of a product stand. Dense
    it is N F. The paper bounds it by N min(F*_u, F*_i).

    Args:
      kept: [M, F] and [N, F] bool, the non-zeros of the final embeddings.
    """
    users, items = (np.count_nonzero(side, axis=0) for side in kept)
    return int(users @ items) / len(kept.user)


def layers(masks: Embeddings, pairs: np.ndarray, num_layers: int) -> Iterator[Embeddings]:
    """The non-zeros of LightGCN's layers 0 to K, [M, F] and [N, F] bool: where the layer before has one at a neighbour.

    Sums that cancel to exactly 0 count as non-zeros.

    Args:
      masks: kept entries, layer 0.
      pairs: [E, 2] training pairs (user, item).
      num_layers: K.
    """
    layer = Embeddings(*(np.asarray(mask, bool) for mask in masks))
    ones = np.ones(len(pairs), np.int32)
    items_of_users = sparse.csr_array((ones, (pairs[:, 0], pairs[:, 1])), (len(layer.user), len(layer.item)))
    users_of_items = items_of_users.T.tocsr()
    yield layer
    for _ in range(num_layers):
        layer = Embeddings(
            items_of_users @ layer.item.astype(np.int32) > 0, users_of_items @ layer.user.astype(np.int32) > 0
        )
        yield layer


def propagation(nonzero: Embeddings, degree: Embeddings) -> int:
    """Multiply-adds of the product of the adjacency with a table: each row is used once a neighbour.

    sum over rows of degree(row) ||row||_0; dense it is 2 E F.

    Args:
      nonzero: [M, F] and [N, F] bool, the non-zeros of the table.
      degree: [M] and [N] training interactions of each row.
    """
    return sum(int(np.count_nonzero(side, axis=1) @ count) for side, count in zip(nonzero, degree, strict=True))

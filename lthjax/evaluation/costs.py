"""What a sparse table costs: bytes stored, and multiply-adds of scoring and of propagation (paper, section 3.5).

Counts, not times; in NumPy and SciPy. Letters: M users, N items, R rows, F dimensions, E training interactions,
K layers, S entries kept.
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
    csr_int32: int  # S values, S columns, R + 1 row starts, 4 bytes each: as in SciPy and JAX
    csr: int  # the same with the smallest integers that hold columns and starts
    bitmap: int  # S values and one bit per entry, each row padded to whole bytes; row starts are counted from the bits


def stored_bytes(num_rows: int, embedding_dim: int, num_kept: int) -> StoredBytes:
    """Bytes of a pruned float32 table.

    Args:
      num_rows: R.
      embedding_dim: F.
      num_kept: S.
    """
    column_bytes = np.min_scalar_type(embedding_dim - 1).itemsize
    start_bytes = np.min_scalar_type(num_kept).itemsize
    return StoredBytes(
        dense=_VALUE * num_rows * embedding_dim,
        csr_int32=(_VALUE + 4) * num_kept + 4 * (num_rows + 1),
        csr=(_VALUE + column_bytes) * num_kept + start_bytes * (num_rows + 1),
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

    u_f and i_f count the users and the items that keep dimension f: only their products have two factors other than 0.
    N F for dense tables. The paper (section 3.5) bounds it by N min(F*_u, F*_i).

    Args:
      kept: [M, F] and [N, F] bool, the non-zeros of the final embeddings.
    """
    users, items = (np.count_nonzero(side, axis=0) for side in kept)
    return int(users @ items) / len(kept.user)


def layers(masks: Embeddings, pairs: np.ndarray, num_layers: int) -> Iterator[Embeddings]:
    """The non-zeros of LightGCN's layers 0 to K, [M, F] and [N, F] bool.

    An entry of a layer is one if that of any neighbour was in the layer before; sums that cancel to exactly 0 count.

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
    """Multiply-adds of the product of the adjacency with a table: each row is multiplied once per neighbour.

    The sum over rows of degree(row) ||row||_0 (paper, section 3.5); 2 E F for dense tables.

    Args:
      nonzero: [M, F] and [N, F] bool, the non-zeros of the table.
      degree: [M] and [N] training interactions of each row.
    """
    return sum(int(np.count_nonzero(side, axis=1) @ count) for side, count in zip(nonzero, degree, strict=True))

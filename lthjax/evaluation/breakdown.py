"""Who pays for the pruning: rows in groups by degree, what is kept and hit in each, and what the lists are made of.

In NumPy. Letters: M users, N items, R rows (users or items), F dimensions, E pairs, G groups, U users with test
items, K items per list.
"""

from collections.abc import Callable, Iterable

import numpy as np

from lthjax.data.split import degrees_of
from lthjax.embeddings import Embeddings


def degrees(pairs: np.ndarray, num_users: int, num_items: int) -> Embeddings:
    """Interactions of each user, [M] int64, and of each item, [N].

    Args:
      pairs: [E, 2] (user, item).
      num_users: M.
      num_items: N.
    """
    return Embeddings(*degrees_of(pairs, num_users, num_items))


def groups_of_equal_mass(degree: np.ndarray, num_groups: int = 10) -> np.ndarray:
    """[R] group of each row, from 0: rows sorted by degree and cut into G groups with equal shares of interactions.

    The lowest degrees are in group 0, equal degrees in the order of their ids. The group of a row is that of the middle
    of its interactions, g = floor(G (before + degree / 2) / all): a group is off by half a row at either end, and a row
    with more than a G-th of all interactions may leave groups empty. After
    `wangyf6891/LTH-MRS:utils/print_details.py`.

    Args:
      degree: [R] interactions of each row; without any at all, every row is in group 0.
      num_groups: G.
    """
    degree = np.asarray(degree, np.int64)
    order = np.argsort(degree, kind="stable")
    twice_middle = 2 * np.cumsum(degree[order]) - degree[order]
    group = np.empty(len(degree), np.int64)
    group[order] = num_groups * twice_middle // max(2 * int(degree.sum()), 1)
    return group


def mean_by_group(values: np.ndarray, group: np.ndarray, num_groups: int = 10) -> np.ndarray:
    """[G] mean of the values in each group; NaN where a group is empty.

    Args:
      values: [R] numbers.
      group: [R] group of each row, from 0.
      num_groups: G.
    """
    count = np.bincount(group, minlength=num_groups)
    total = np.bincount(group, weights=np.asarray(values, np.float64), minlength=num_groups)
    return np.divide(total, count, out=np.full(num_groups, np.nan), where=count > 0)


def density_of_rows(mask: np.ndarray) -> np.ndarray:
    """[R] share of entries kept in each row of a [R, F] mask; 0 is a dead row."""
    return np.asarray(mask).mean(axis=1, dtype=np.float64)


def density_of_dimensions(mask: np.ndarray) -> np.ndarray:
    """[F] share of entries kept in each dimension of a [R, F] mask."""
    return np.asarray(mask).mean(axis=0, dtype=np.float64)


def are_hits(users: np.ndarray, lists: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[E] bool, is the item of each pair in its user's list? No for users without a list.

    Args:
      users: [U] users with a list.
      lists: [U, K] items, -1 where a list is shorter than K.
      pairs: [E, 2] held-out interactions (user, item).
    """
    span = int(max(lists.max(initial=0), pairs.max(initial=0))) + 1
    items, repeated_users = lists.ravel(), np.repeat(np.asarray(users, np.int64), lists.shape[1])
    recommended = (repeated_users * span + items)[items >= 0]
    return np.isin(pairs[:, 0].astype(np.int64) * span + pairs[:, 1], recommended)


def exposure(lists: np.ndarray, num_items: int) -> np.ndarray:
    """[N] number of [U, K] lists that each item is in; -1 in a list is no item."""
    return np.bincount(lists[lists >= 0], minlength=num_items)


def coverage(exposed: np.ndarray) -> float:
    """Share of items that are in at least one list, from [N] exposures."""
    return float(np.mean(np.asarray(exposed) > 0))


def mean_popularity(exposed: np.ndarray, degree: np.ndarray) -> float:
    """Mean degree of a recommended item: sum(exposed * degree) / sum(exposed); NaN where nothing is recommended.

    Args:
      exposed: [N] number of lists that each item is in.
      degree: [N] training interactions of each item.
    """
    total = int(np.sum(exposed))
    return float(np.dot(exposed, degree) / total) if total else float("nan")


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of [N] counts: 0 where all are equal, (N - 1) / N where one item has all; NaN where all are 0.

    With counts in ascending order x_1 to x_N: sum_i (2 i - N - 1) x_i / (N sum x).
    """
    ordered = np.sort(np.asarray(counts, np.float64))
    num_items, total = len(ordered), ordered.sum()
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ ordered / (num_items * total)) if total else float("nan")


OF_CATALOG: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {  # by the names of --metrics
    "coverage": lambda exposed, popularity: coverage(exposed),
    "popularity": mean_popularity,
    "gini": lambda exposed, popularity: gini(exposed),
}


def of_lists(lists: np.ndarray, popularity: np.ndarray, ks: Iterable[int], metrics: Iterable[str]) -> dict[str, float]:
    """Metrics of the catalog, "coverage@20" and so on: what the first K of all lists together are made of.

    coverage: share of the N items that stand in somebody's first K (Ge, Delgado-Battenfeld and Jannach 2010).
    popularity: mean training interactions of a recommended item (Abdollahpouri, Burke and Mobasher 2019).
    gini: of how often each item is recommended, the never recommended ones too (Fleder and Hosanagar 2009).

    The lists are those that are served, with equal scores in the order of popularity, and no expectation over it:
    these metrics are about what users see, and who has only equal scores is shown the most popular items.

    Args:
      lists: [U, K] items, -1 where a list is shorter than K.
      popularity: [N] training interactions of each item.
      ks: list lengths.
      metrics: names of `OF_CATALOG`.
    """
    exposed = {k: exposure(lists[:, :k], len(popularity)) for k in ks}
    return {f"{name}@{k}": OF_CATALOG[name](counts, popularity) for k, counts in exposed.items() for name in metrics}
